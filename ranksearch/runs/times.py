"""The measured time of a delivered model."""

from __future__ import annotations

from collections.abc import Sequence

from ranksearch.networks import Layer, to
from ranksearch.planning import PlanRecord, chains_of, to_plan
from ranksearch.runs.options import RunOptions
from ranksearch.runs.settings import timing_settings
from ranksearch.tasks import Task
from ranksearch.timing import Ratio, Timer


def time_of(
    record: PlanRecord,
    task: Task,
    layers: Sequence[Layer],
    options: RunOptions,
    timer: Timer | None = None,
) -> tuple[Ratio, float]:
    """The time of a plan over the dense model's, and that one in seconds, on the runtime that the options name.

    layers: of the dense model. timer: one that has timed the dense model already.
    """
    able = [layer for layer in layers if layer.reason is None]
    if timer is None:
        example, settings = to(task.example, task.device), timing_settings(options)
        timer = Timer.start(task.model, able, example, settings, task.laid_out, task.cache)
    return timer.ratio(chains_of(layers, to_plan(record))), timer.seconds
