"""The prepared problem: the results of calibration, from which search and compression start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from ranksearch.cache import Cache, Entry, digest
from ranksearch.calibration import (
    HeldMoments,
    Moments,
    Whitened,
    computation_digest,
    moments_keys,
    simplify,
    source_of,
    task_moments,
    whiten,
)
from ranksearch.costs import COSTS, INT8_BYTES, Cost, computed
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, expected
from ranksearch.networks import UNCALLED, Layer, algebra_threads, kernel_of
from ranksearch.planning.builder import build
from ranksearch.planning.fits import Fits
from ranksearch.planning.int8 import rounding_error, with_int8
from ranksearch.planning.layer_weights import EVEN_WEIGHTS, LayerWeights
from ranksearch.planning.network import Network, inspect_network
from ranksearch.planning.network_tables import Tables
from ranksearch.planning.plan import Candidate, Plan, Table
from ranksearch.planning.priced import priced
from ranksearch.planning.tables import CandidateConfig, held_out_error, layer_candidates
from ranksearch.planning.unused import unused_tables
from ranksearch.progress import Progress, no_progress, ticks
from ranksearch.tasks import Role, Task
from ranksearch.timing import Timer, Times


@dataclass(frozen=True, kw_only=True)
class Problem(Tables):
    """The tables of a task's model, and what building and timing its plans takes.

    The weights of the tables come from `layer_weights`.
    """

    task: Task
    fits: Fits
    layer_weights: LayerWeights = EVEN_WEIGHTS
    timer: Timer | None = None

    @property
    def offered(self) -> Tables:
        """The tables alone."""
        return Tables(self.layers, self.dense, self.tables, self.times, self.part)

    def build(self, plan: Plan) -> nn.Module:
        """A compressed copy of the task's model; BatchNorm statistics are still the dense model's."""
        return self.task.laid_out(build(self.task.model, self.layers, plan, self.fits))


def prepare(
    task: Task,
    *,
    ignore: Sequence[str] = (),
    network: Network | None = None,
    config: CandidateConfig | None = None,
    layer_weights: LayerWeights = EVEN_WEIGHTS,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Problem:
    """Find the layers, measure the dense model, collect moments, and make the candidates of every layer.

    The fits use the moments images; their errors are checked on moments of the divergence images.
    `layer_weights` affect neither, so cached tables are valid for any weights. Layers that receive no gradient stay
    dense, unless the outputs do not depend on their kernels, see `unused_tables`. `network` is
    `inspect_network(task, …)`, if already known; `ignore` was then applied there.
    """
    config = config or CandidateConfig()
    network = network or inspect_network(task, ignore=ignore, metrics=config.metrics)
    layers: Sequence[Layer] = network.layers
    able = _able(layer_weights.kept_dense(layers)) and _able(layers)
    config.check(layers)
    measured = [name for name in config.metrics if COSTS.get(name).measured]
    if config.measures_multiples and network.timer is not None:
        found = network.timer.multiples(able, config.decompositions, ticks(progress, "rank multiples"))
        config = config.with_multiples(found)
    int8 = INT8_BYTES in config.metrics
    if measured or int8:  # what is added to candidates tells which of them are worth it
        config = replace(config, metrics=computed(config.metrics), pruned=False)
    computes = computation_digest(task) if task.cache else ""

    def moments_of(role: Role, stage: str) -> HeldMoments:
        return task_moments(
            task,
            able,
            (role,),
            seed=seed,
            computes=computes,
            on_batch=ticks(progress, stage),
        )

    fitted_to = moments_of("moments", "moments")
    layers = layer_weights.kept_dense([judged(layer, fitted_to.get(layer.name)) for layer in layers])
    able = _able(layers)
    unused = () if measured else _unused(task, layers, config)
    spare = {table.layer.name: table.layer for table in unused}
    able = [layer for layer in able if layer.name not in spare]
    checked_on = moments_of("divergence", "held-out moments")

    for name in fitted_to.keys() - {layer.name for layer in able}:
        fitted_to.drop(name)
    fits = fits_to(task, [*able, *spare.values()], fitted_to, config)
    cache = Cache(task.cache)
    keys = _table_keys(task, able, config, seed, computes) if task.cache else {}
    tables = []
    for done, layer in enumerate(able):
        progress("candidates", done, len(able))
        entry = cache.get(keys[layer.name]) if keys else None
        table = _read(layer, entry) if entry is not None else None
        if table is None:
            seen = checked_on[layer.name]
            with algebra_threads(layer.fan_in):
                white = fits.whitened(layer.name)
                kernel, moments = _kernel(task, layer.name), simplify(seen.A, seen.G, config.error)
                table = layer_candidates(layer, white, config, held_out_error(kernel, white, *moments))
                if int8:
                    table = with_int8(table, rounding_error(kernel, *moments))
                white.forget()
            if keys:
                cache.put(keys[layer.name], {}, _written(table))
        tables.append(table)
        checked_on.drop(layer.name)  # those of a large network take gigabytes
    progress("candidates", len(able), len(able))
    if measured and network.timer is not None:
        prices = network.timer.prices(
            able,
            config.decompositions,
            multiple=lambda layer: config.multiple(layer.name),
            progress=ticks(progress, "times of candidates"),
        )
        for name in measured:
            tables = [priced(table, prices, name) for table in tables]
    places = {layer.name: k for k, layer in enumerate(layers)}
    tables = sorted([*tables, *unused], key=lambda table: places[table.layer.name])
    timer = network.timer
    return Problem(
        layers=tuple(spare.get(layer.name, layer) for layer in layers),
        dense=network.cost,
        tables=layer_weights.weighed(tables),
        times=None if timer is None else Times(timer.on),
        part=network.part,
        task=task,
        fits=fits,
        layer_weights=layer_weights,
        timer=timer,
    )


def fits_to(
    task: Task, layers: Sequence[Layer], moments: Mapping[str, Moments], config: CandidateConfig
) -> Fits:
    """Fits of a task's layers to their moments; the kernel of a layer that has none does not matter: it is zero."""
    groups = {layer.name: layer.groups for layer in layers}

    def whitened(name: str) -> Whitened:
        if name not in moments:
            return whiten(torch.zeros_like(_kernel(task, name)), groups=groups[name])
        own = simplify(*moments[name].shrunk(), config.error)
        return whiten(_kernel(task, name), *own, groups[name])

    return Fits(whitened, config)


def problem_from(
    task: Task, tables: Tables, config: CandidateConfig, *, seed: int, computes: str, progress: Progress
) -> Problem:
    """The problem of a task whose tables another process has made; computes: the digest that its moments go by."""
    layers = [table.layer for table in tables.tables]
    used = [table.layer for table in tables.tables if not table.unused]
    on_batch = ticks(progress, "moments")
    moments = task_moments(task, used, ("moments",), seed=seed, computes=computes, on_batch=on_batch)
    return Problem(
        layers=tables.layers,
        dense=tables.dense,
        tables=tables.tables,
        times=tables.times,
        part=tables.part,
        task=task,
        fits=fits_to(task, layers, moments, config),
    )


def _able(layers: Sequence[Layer]) -> list[Layer]:
    """The layers that can be factorised. Raises InputError if there are none."""
    able = [layer for layer in layers if layer.reason is None]
    if not able:
        reasons = sorted({layer.reason for layer in layers if layer.reason})
        got = f"none ({'; '.join(reasons) or 'no layers'})"
        way_out = (
            "Is it the loss that the model was trained with? Does its forward pass detach what it computes, run "
            "under torch.no_grad, or use operations without a gradient, as quantised layers do?"
        )
        raise InputError(
            expected(
                "model", "at least one layer that can be factorised", got, way_out * (_UNREACHED in reasons)
            )
        )
    return able


_UNREACHED = "no gradient comes to it on the calibration images"


def judged(layer: Layer, moments: Moments | None) -> Layer:
    """The layer, with a reason to stay dense if it receives no gradient, so that its errors cannot be estimated.

    Its output may matter all the same, for instance if the forward pass detaches it.
    """
    if moments is None or moments.reached:
        return layer
    return replace(layer, reason=_UNREACHED)


def _unused(task: Task, layers: Sequence[Layer], config: CandidateConfig) -> tuple[Table, ...]:
    """Tables of layers that nothing calls, that no gradient comes to, or that have a kernel of zeros, as far as their
    kernels do not matter."""
    suspects = [
        replace(x, reason=None)
        for x in layers
        if x.reason in (UNCALLED, _UNREACHED)
        or (x.reason is None and not bool(kernel_of(task.model, x.name).any()))
    ]
    return unused_tables(task, suspects, config.decompositions, config.metrics)


def _kernel(task: Task, name: str) -> Tensor:
    return kernel_of(task.model, name).to(task.device)


def _table_keys(
    task: Task, layers: Sequence[Layer], config: CandidateConfig, seed: int, computes: str
) -> dict[str, str]:
    """What a layer's candidates depend on, as keys of a cache."""
    moments = [moments_keys(task, layers, role, seed, computes) for role in ("moments", "divergence")]
    code = [source_of(type(DECOMPOSITIONS.get(name))) for name in config.decompositions]
    return {
        layer.name: digest([keys[layer.name] for keys in moments], config, layer, code) for layer in layers
    }


def _written(table: Table) -> dict[str, Any]:
    rows = [(c.decomposition, c.form, c.ranks, c.cost.amounts, c.error, c.int8) for c in table.candidates]
    return {"candidates": rows, "scale": table.scale}


def _read(layer: Layer, entry: Entry) -> Table:
    plain = entry[1]
    rows = plain["candidates"]
    candidates = (
        Candidate(name, form, tuple(ranks), Cost(**amounts), error, *int8)
        for name, form, ranks, amounts, error, *int8 in rows
    )
    return Table(layer, tuple(candidates), plain["scale"])
