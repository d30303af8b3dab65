"""Layers whose kernel does not matter: without it the model gives the same outputs. They are cut to the least rank.

A head that `output` leaves out, a layer whose output is dropped or multiplied by zero, one whose activations are all
zero. They cost no accuracy, so that what they take is free for the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ranksearch.costs import Cost, chain_cost, layer_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.networks import Batch, Layer, copy_model, eval_mode, forward, split, to, together
from ranksearch.planning.plan import DENSE, Candidate, Table
from ranksearch.tasks import Role, Task

_SEEN: tuple[Role, ...] = ("moments", "divergence")


def unused_tables(
    task: Task, suspects: Sequence[Layer], decompositions: Sequence[str], metrics: Sequence[str]
) -> tuple[Table, ...]:
    """Tables of those among some layers whose kernels, all zero at once, leave every output on the calibration images
    as it is, to the last bit. Each holds the dense layer and the cheapest candidate, whose factors are zeros."""
    tables = {layer.name: _table(layer, decompositions, metrics) for layer in suspects}
    names = [name for name, table in tables.items() if len(table.candidates) > 1]
    if not names:
        return ()
    model = task.laid_out(copy_model(task.model))
    found = together(names, lambda some: _same_without(task, model, some))
    return tuple(tables[name] for name in names if name in found)


def _same_without(task: Task, model: nn.Module, names: Sequence[str]) -> bool:
    """Whether a model gives the same outputs when the kernels of some layers are zero; they are put back."""
    weights = [model.get_submodule(name).get_parameter("weight").detach() for name in names]
    before = [weight.clone() for weight in weights]
    zeros = [torch.zeros_like(weight) for weight in weights]

    def outputs(values: Sequence[Tensor], batch: Batch) -> Tensor:
        _fill(weights, values)
        return forward(model, batch, task.output)

    try:
        with eval_mode(model):
            return all(
                torch.equal(outputs(before, placed), outputs(zeros, placed))
                for role in _SEEN
                for batch in split(task.inputs(role), task.batch_size)
                for placed in [to(batch, task.device)]
            )
    finally:
        _fill(weights, before)


def _fill(weights: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)


def _table(layer: Layer, decompositions: Sequence[str], metrics: Sequence[str]) -> Table:
    """The cheapest candidate and the dense layer, or that alone where nothing is cheaper."""
    dense = Candidate(DENSE, "", (), layer_cost(layer, metrics), 0.0)
    least = [
        Candidate(
            name, form, ranks, chain_cost(layer, own.chain(layer, form, ranks), metrics), 0.0, unused=True
        )
        for name in decompositions
        for own in [DECOMPOSITIONS.get(name)]
        for form in own.forms(layer)
        for ranks in [tuple(1 for _ in own.max_ranks(layer, form))]
    ]
    cheaper = [c for c in least if _cheaper(c.cost, dense.cost)]
    chosen = sorted(cheaper, key=lambda c: (c.cost.params, c.cost.flops))[:1]
    return Table(layer, (*chosen, dense), 0.0)


def _cheaper(cost: Cost, dense: Cost) -> bool:
    """In parameters, and in nothing more expensive."""
    return cost.params < dense.params and all(cost.of(m) <= n for m, n in dense.amounts.items())
