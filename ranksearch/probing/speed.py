"""Time of a forward pass on this machine: of the dense model, and of plans as they would be built.

FLOPs say little about the time that many thin layers take, so the time is measured.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from statistics import median

import torch
from torch import nn

from ranksearch.networks import Batch, call, channels_last, copy_model, eval_mode, repeated, to
from ranksearch.planning import Plan, Problem, skeleton
from ranksearch.progress import Ticks, no_ticks

BATCH = 32
"""Examples in the batch that is timed."""

REPEATS = 5
"""Measurements per model, of which the median is used; the models alternate, so that other load affects all alike."""

_LEAST = 0.02
"""Minimum duration of a measurement in seconds."""


@dataclass(frozen=True)
class Speed:
    """Seconds for a forward pass of `batch` examples with this device and number of threads: of the dense model, and of
    plans by their budgets."""

    batch: int
    threads: int
    device: str
    dense: float
    plans: Mapping[float, float]


def measure_speed(
    problem: Problem,
    plans: Mapping[float, Plan],
    *,
    progress: Ticks = no_ticks,
) -> Speed:
    """Time the dense model and some plans, by budget, on the task's device with torch's current number of threads.

    The chains' weights are zeros, which take as long as any others.
    """
    task = problem.task
    models = [copy_model(task.model)]
    models += [skeleton(task.model, problem.layers, plan) for plan in plans.values()]
    batch = repeated(to(task.example, task.device), BATCH)
    seconds = median_seconds([task.laid_out(model) for model in models], batch, progress)
    return Speed(
        BATCH,
        torch.get_num_threads(),
        task.device.type,
        seconds[0],
        dict(zip(plans, seconds[1:], strict=True)),
    )


def median_seconds(
    models: list[nn.Module],
    batch: Batch,
    progress: Ticks = no_ticks,
) -> list[float]:
    """The median time of a forward pass in evaluation mode for each model."""
    # The import warns about a missing CUDA runtime if a CUDA compiler is installed.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    batch = channels_last(batch)
    timers = [
        Timer(
            "call(model, batch)",
            globals={"call": call, "model": model, "batch": batch},
            num_threads=torch.get_num_threads(),
        )
        for model in models
    ]
    found: list[list[float]] = [[] for _ in models]
    counts: list[int] = []
    for done in range(REPEATS):
        progress(done, REPEATS)
        for k, (model, timer) in enumerate(zip(models, timers, strict=True)):
            with eval_mode(model):
                if not done:
                    counts.append(ceil(_LEAST / max(timer.timeit(1).median, 1e-6)))
                found[k].append(timer.timeit(counts[k]).median)
    progress(REPEATS, REPEATS)
    return [median(own) for own in found]
