"""Sizes of weights files: of the dense model, and of plans that are not built."""

from __future__ import annotations

from ranksearch.costs import COSTS
from ranksearch.planning import Plan, Problem, chains_of


def dense_bytes(problem: Problem) -> int:
    """Of the tensors in the dense model's file."""
    return COSTS.get("bytes").of_model(problem.task.model, problem.task.example)


def plan_bytes(problem: Problem, plan: Plan, dense: int) -> int:
    """Of the tensors in the file of a plan's model, `dense` being those of the dense model's."""
    metric = COSTS.get("bytes")
    known = {layer.name: layer for layer in problem.layers}
    chains = chains_of(problem.layers, plan)
    return dense + sum(
        metric.of_chain(known[name], chain) - metric.of_layer(known[name]) for name, chain in chains.items()
    )
