"""Ranks from elsewhere: names of modules and their ranks as JSON, and the plan that they make of a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranksearch.costs import ALWAYS, Cost, chain_cost, layer_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, MismatchError, expected
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
    """What is wanted of a layer. decomposition: "" where it has a rank alone. ranks: empty for dense."""

    decomposition: str
    form: str
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class ImportedRanks:
    """What is wanted of the layers of a model, by name; those that are not named stay dense.

    decomposition: what a rank alone stands for; where it does not apply, or has several ranks, `svd` takes its place.
    """

    wanted: Mapping[str, Wanted]
    decomposition: str = DEFAULT

    def plan(self, layers: Sequence[Layer], dense: Cost) -> Plan:
        """The plan that carries them out. Its errors are not known, and 0.

        layers: of the model, including those that have to stay dense. dense: cost of the dense model. Raises
        MismatchError for a layer that the model does not have, or that cannot be factorised in this way.
        """
        check_named([name for name, own in self.wanted.items() if own.ranks], layers)
        choices = {
            layer.name: self._candidate(layer, self.wanted.get(layer.name))
            for layer in layers
            if not layer.reason
        }
        total = dense.only(ALWAYS)
        for layer in layers:
            if layer.name in choices:
                total = total - layer_cost(layer) + choices[layer.name].cost
        return Plan(choices, total)

    def _candidate(self, layer: Layer, own: Wanted | None) -> Candidate:
        if own is None or not own.ranks:
            return Candidate(DENSE, "", (), layer_cost(layer), 0.0)
        alone = self.decomposition if _has_one_rank(layer, self.decomposition) else DEFAULT
        name = own.decomposition or alone
        forms = DECOMPOSITIONS.get(name).forms(layer) if name in DECOMPOSITIONS.names() else ()
        form = own.form if own.form or not forms else forms[0]
        if wrong := misfit(layer, name, form, own.ranks):
            raise MismatchError(expected(f"ranks, {layer.name}, {shortened(name)}", *wrong))
        chain = DECOMPOSITIONS.get(name).chain(layer, form, own.ranks)
        return Candidate(name, form, own.ranks, chain_cost(layer, chain), 0.0)


def check_named(names: Collection[str], layers: Sequence[Layer]) -> None:
    """Raises MismatchError for names that no layer has, and for layers that cannot be factorised."""
    known = {layer.name: layer for layer in layers}
    for name in names:
        if name not in known:
            way_out = close_match(name, list(known)) or "`ranksearch layers` lists the layers of a model."
            raise MismatchError(expected("ranks", "layers of the model", repr(shortened(name)), way_out))
        if reason := known[name].reason:
            raise MismatchError(expected(f"ranks, {name}", "a layer that can be factorised", reason))


def _has_one_rank(layer: Layer, name: str) -> bool:
    decomposition = DECOMPOSITIONS.get(name)
    forms = decomposition.forms(layer)
    return bool(forms) and len(decomposition.max_ranks(layer, forms[0])) == 1


def parse_ranks(path: Path, data: Mapping[str, Any], decomposition: str = DEFAULT) -> ImportedRanks:
    """The ranks that JSON holds: `{module: rank}`, or a file of chains.

    Raises InputError that names the file, the module, the expected and the actual value.
    """
    layers = data.get("layers") if data.get("format") == CHAINS else data
    if not isinstance(layers, dict) or not layers:
        raise InputError(expected(str(path), "a rank for each module, by name", "none"))
    wanted = {name: _wanted(f"{path}, {shortened(name)}", value) for name, value in layers.items()}
    if not any(own.ranks for own in wanted.values()):
        raise InputError(expected(str(path), "at least one rank", "dense layers alone"))
    return ImportedRanks(wanted, decomposition)


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
