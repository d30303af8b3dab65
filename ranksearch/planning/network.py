"""A task's model as planning sees it: its layers, and what it costs; inspected once per run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ranksearch.costs import ALWAYS, Cost, measure_cost
from ranksearch.networks import Layer, check_finite, discover
from ranksearch.tasks import Task


@dataclass(frozen=True)
class Network:
    """layers: in the order of the forward pass, including those that have to stay dense. cost: of the dense model."""

    layers: tuple[Layer, ...]
    cost: Cost


def inspect_network(task: Task, *, ignore: Sequence[str] = (), metrics: Sequence[str] = ALWAYS) -> Network:
    """Find the layers of a task's model and measure what it costs in some cost metrics.

    ignore: shell patterns over names of layers that stay dense. Raises InputError where the model does not run on the
    task's example, or its weights are not finite.
    """
    check_finite(task.model, f"model {task.model_name or type(task.model).__name__}")
    layers = discover(task.model, task.example, ignore=ignore, output=task.output)
    return Network(layers, measure_cost(task.model, task.example, metrics))
