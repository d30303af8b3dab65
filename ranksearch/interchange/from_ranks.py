"""Ranks from elsewhere: a JSON file that names modules and their ranks, and the plan that it makes of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranksearch.costs import ALWAYS, Cost, chain_cost, layer_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.interchange.reading import read_json
from ranksearch.networks import Layer
from ranksearch.objects import close_match
from ranksearch.planning import DENSE, Candidate, Plan, misfit
from ranksearch.records import shortened

DEFAULT = "svd"
"""The decomposition that a rank alone stands for."""

FORMS = '12, 0 for dense, or {"decomposition": "tucker2", "ranks": [8, 12]}'
CHAINS = "ranksearch chains"


@dataclass(frozen=True)
class Wanted:
    """What a file wants of a layer. decomposition: "" where it has a rank alone. ranks: empty for dense."""

    decomposition: str
    form: str
    ranks: tuple[int, ...]


def read_ranks(path: Path) -> dict[str, Wanted]:
    """What a file of ranks, or of chains, wants of each module that it names.

    Raises InputError that names the file, the module, the expected and the actual value. Nothing in the file is
    imported or run, and a pickle is not read.
    """
    data = read_json(path, "ranks")
    layers = data.get("layers") if data.get("format") == CHAINS else data
    if not isinstance(layers, dict) or not layers:
        raise InputError(expected(str(path), "a rank for each module, by name", f"{len(data)} names"))
    return {name: _wanted(f"{path}, {shortened(name)}", value) for name, value in layers.items()}


def _wanted(where: str, value: Any) -> Wanted:
    match value:
        case bool():
            pass
        case None | "dense" | 0:
            return Wanted("", "", ())
        case int() if value > 0:
            return Wanted("", "", (value,))
        case {"decomposition": str(name), "ranks": [*ranks], **rest} if name != DENSE and _are_ranks(ranks):
            if isinstance(form := rest.get("form", ""), str):
                return Wanted(name, form, tuple(ranks))
    raise InputError(expected(where, FORMS, shortened(repr(value))))


def _are_ranks(values: Sequence[Any]) -> bool:
    return bool(values) and all(type(value) is int and value > 0 for value in values)


def plan_of_ranks(
    wanted: Mapping[str, Wanted],
    layers: Sequence[Layer],
    dense: Cost,
    *,
    decomposition: str = DEFAULT,
    metrics: Sequence[str] = ALWAYS,
) -> Plan:
    """The plan that carries out ranks from elsewhere; layers that are not named stay dense. Its errors are not known,
    and 0.

    layers: of the model, including those that have to stay dense. dense: cost of the dense model in `metrics`.
    decomposition: what a rank alone stands for; where it does not apply, or has several ranks, `svd` takes its place.
    Raises MismatchError for a layer that the model does not have, or that cannot be factorised in this way.
    """
    known = {layer.name: layer for layer in layers}
    for name, own in wanted.items():
        if name not in known:
            way_out = close_match(name, known) or "`ranksearch layers` lists the layers of a model."
            raise MismatchError(
                expected(f"ranks, {shortened(name)}", "a layer of the model", "none", way_out)
            )
        if own.ranks and (reason := known[name].reason):
            raise MismatchError(expected(f"ranks, {name}", "a layer that can be factorised", reason))
    choices = {
        layer.name: _candidate(layer, wanted.get(layer.name), decomposition, metrics)
        for layer in layers
        if not layer.reason
    }
    return Plan(choices, _total(known, choices.items(), dense, metrics))


def _candidate(layer: Layer, own: Wanted | None, alone: str, metrics: Sequence[str]) -> Candidate:
    if own is None or not own.ranks:
        return Candidate(DENSE, "", (), layer_cost(layer, metrics), 0.0)
    name = own.decomposition or (alone if _has_one_rank(layer, alone) else DEFAULT)
    forms = DECOMPOSITIONS.get(name).forms(layer) if name in DECOMPOSITIONS.names() else ()
    form = own.form if own.form or not forms else forms[0]
    if wrong := misfit(layer, name, form, own.ranks):
        raise MismatchError(expected(f"ranks, {layer.name}, {shortened(name)}", *wrong))
    chain = DECOMPOSITIONS.get(name).chain(layer, form, own.ranks)
    return Candidate(name, form, own.ranks, chain_cost(layer, chain, metrics), 0.0)


def _has_one_rank(layer: Layer, name: str) -> bool:
    decomposition = DECOMPOSITIONS.get(name)
    forms = decomposition.forms(layer)
    return bool(forms) and len(decomposition.max_ranks(layer, forms[0])) == 1


def _total(
    known: Mapping[str, Layer],
    choices: Iterable[tuple[str, Candidate]],
    dense: Cost,
    metrics: Sequence[str],
) -> Cost:
    total = dense
    for name, candidate in choices:
        total = total - layer_cost(known[name], metrics) + candidate.cost
    return total
