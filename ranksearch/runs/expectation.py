"""How long a run is going to take, roughly, said before what takes long begins."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from ranksearch.compression.training import steps_per_epoch
from ranksearch.networks import eval_mode, forward, repeated, seeded, to
from ranksearch.progress import Reporter
from ranksearch.runs.options import RunOptions
from ranksearch.runs.settings import delivery_epochs
from ranksearch.searching import LOOKS
from ranksearch.tasks import Role, Task

STEP = 4.0
"""A step of distillation in forward passes of the dense model: the teacher's own, and the student's with its gradients,
which take about twice as long as the pass itself."""

WORTH_TELLING = 60.0
"""Seconds from which on fine-tuning is announced."""


@dataclass(frozen=True)
class Expectation:
    """pace: seconds of the dense model per example, in batches. training: seconds of the fine-tuning of one model.
    models: how many are delivered, or how many at most."""

    pace: float
    training: float
    models: int
    at_most: bool

    def left(self, fitting: float, evaluated: int) -> float:
        """Seconds from the candidates on. fitting: seconds that the candidates took, about as long as the final fits of
        one model take. evaluated: examples that each model and the dense one answer."""
        evaluation = self.pace * evaluated * (self.models + 1)
        return self.models * (fitting + self.training) + evaluation


def expectation(task: Task, options: RunOptions) -> Expectation:
    """What to expect of a run, after two batches have been timed."""
    pace = _pace(task)
    epochs: dict[Role, int] = {"finetune": delivery_epochs(options), "moments": options.match_epochs}
    steps = sum(count * steps_per_epoch(task, role) for role, count in epochs.items())
    at_most = options.max_drop is not None
    models = LOOKS if at_most else max(1, len(options.budget))
    return Expectation(pace, STEP * steps * task.batch_size * pace, models, at_most)


def _pace(task: Task) -> float:
    batch = to(repeated(task.example, task.batch_size), task.device)
    with eval_mode(task.model), seeded(task.seed, task.device):
        for _ in range(2):  # the first one warms up
            begun = time.perf_counter()
            forward(task.model, batch, task.output).cpu()
            spent = time.perf_counter() - begun
    return spent / task.batch_size


def describe_training(expected: Expectation, task: Task, options: RunOptions, reporter: Reporter) -> None:
    """Say how long fine-tuning takes, where that is long."""
    if expected.models * expected.training < WORTH_TELLING:
        return
    images, epochs = steps_per_epoch(task) * task.batch_size, delivery_epochs(options)
    most = "at most " if expected.at_most else ""
    each = "" if expected.models == 1 else f" for each of {most}{expected.models} models"
    where = "the CPU" if task.device.type == "cpu" else str(task.device)
    of = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    reporter.line(
        f"fine-tuning: {in_words(expected.training)}{each} ({of} of {images:,} examples on {where}); "
        "`epochs=0` leaves it out"
    )


FIT = 1.0
"""Seconds of a layer's final fits, where candidates that came from the cache say nothing about it."""


def describe_left(expected: Expectation, task: Task, layers: int, spent: float, reporter: Reporter) -> None:
    """Say how long the rest of the run takes, roughly. spent: seconds that the candidates of the layers took."""
    fitting = max(spent, FIT * layers)
    sets: list[Any] = [task.dataset("validation"), task.dataset("test")]
    count = sum(len(dataset) for dataset in sets if dataset is not None)
    most = "at most " if expected.at_most else ""
    reporter.line(f"time: {most}{in_words(expected.left(fitting, count))} left, roughly")


def in_words(seconds: float) -> str:
    """`under a minute`, `about 3 minutes`, `about 2.5 hours`."""
    if seconds < 55:
        return "under a minute"
    if seconds < 5400:
        minutes = max(1, round(seconds / 60))
        return f"about {minutes} {'minute' if minutes == 1 else 'minutes'}"
    return f"about {seconds / 3600:.2g} hours"
