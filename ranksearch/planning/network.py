"""A task's model as planning sees it: its layers, and what it costs; inspected once per run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ranksearch.costs import ALWAYS, Cost, Part, computed, measure_cost
from ranksearch.networks import Layer, check_finite, discover, to
from ranksearch.planning.part import take_part
from ranksearch.tasks import Task, check_fit, check_metric
from ranksearch.timing import Timer, TimingSettings, nanoseconds

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Network:
    """layers: in the order of the forward pass, including those that have to stay dense. cost: of the dense model.
    timer: measures times; None where no cost metric of the run is one. part: what budgets count; None: all."""

    layers: tuple[Layer, ...]
    cost: Cost
    timer: Timer | None = None
    part: Part | None = None


def inspect_network(
    task: Task,
    *,
    ignore: Sequence[str] = (),
    metrics: Sequence[str] = ALWAYS,
    timing: TimingSettings | None = None,
    budget_of: str | None = None,
) -> Network:
    """Find the layers of a task's model and measure what it costs in some cost metrics.

    ignore: shell patterns over names of layers that stay dense. timing: what times are measured on, if a metric is one.
    budget_of: the part that budgets count, see `take_part`; the whole model where None.

    Raises InputError where the model does not run on the task's example, or its weights are not finite.
    """
    check_finite(task.model, f"model {task.model_name or type(task.model).__name__}")
    layers = discover(task.model, task.example, ignore=ignore, output=task.output)
    for note in check_fit(task):
        log.info("%s", note)
    check_metric(task)
    cost = measure_cost(task.model, task.example, computed(metrics))
    measured = [name for name in metrics if name not in cost.amounts]
    if not measured:
        part = None
        if budget_of is not None:
            layers, part = take_part(task.model, layers, budget_of, tuple(cost.amounts))
        return Network(layers, cost, part=part)
    timer = timer_of(task, layers, timing or TimingSettings())
    amount = nanoseconds(timer.seconds)
    return Network(layers, Cost(**cost.amounts, **dict.fromkeys(measured, amount)), timer)


def timer_of(task: Task, layers: Sequence[Layer], settings: TimingSettings) -> Timer:
    """The task's model made ready to be timed; layers: all of them. Raises InputError if the runtime cannot run it."""
    able = [layer for layer in layers if layer.reason is None]
    return Timer.start(task.model, able, to(task.example, task.device), settings, task.laid_out, task.cache)
