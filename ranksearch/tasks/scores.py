"""Scores measured by running a model: outputs, divergence from the dense model, the task's metric."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import sqrt
from typing import cast

import torch
from torch import Tensor, nn

from ranksearch.errors import InputError, blaming, expected
from ranksearch.networks import eval_mode, forward, size
from ranksearch.progress import Ticks, no_ticks
from ranksearch.tasks.losses import Loss
from ranksearch.tasks.metrics import Metric
from ranksearch.tasks.task import Role, Task


@dataclass(frozen=True)
class Estimate:
    """A mean over examples and its standard error."""

    mean: float
    stderr: float
    count: int

    @classmethod
    def of(cls, values: Tensor) -> Estimate:
        values = values.double()
        n = len(values)
        return cls(float(values.mean()), float(values.std()) / sqrt(n) if n > 1 else 0.0, n)


def divergence(dense_outputs: Tensor, outputs: Tensor, loss: Loss) -> Estimate:
    """Mean divergence of the compressed model's outputs from the dense model's, at temperature 1.

    Non-finite outputs of a broken compressed model count as infinitely far.
    """
    with blaming(f"loss {loss.name}", "a divergence of two outputs of the model"):
        values = loss.divergence(dense_outputs, outputs, 1.0)
    return Estimate.of(torch.nan_to_num(values, nan=torch.inf, posinf=torch.inf))


def evaluate(model: nn.Module, task: Task, role: Role, *, progress: Ticks = no_ticks) -> Estimate | None:
    """The task's metric on the data of a role; None where it has no data or no labels."""
    if task.dataset(role) is None:
        return None
    scores: list[Tensor] = []
    tell = counting(task, role, progress)
    with eval_mode(model):
        for inputs, targets in task.batches(role):
            if targets is None:
                return None
            scores.append(parts_of(task, forward(model, inputs, task.output), targets).cpu())
            tell(size(inputs))
    return Estimate.of(spread(task, torch.cat(scores)))


MANY = 2000
"""Examples from which on reading them all is told of while it goes on."""


def counting(task: Task, role: Role, progress: Ticks) -> Callable[[int], None]:
    """What hears of every batch of a role by its size, and tells how far the role is, where there are many examples."""
    total, done = len(cast(Sized, task.dataset(role))), 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if total >= MANY:
            progress(min(done, total), total)

    return tell


def example_scores(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The metric of examples, (N,), whose mean is that of all of them together.

    outputs: An (N, …) tensor.
    targets: An (N, …) tensor.
    returns: An (N,) tensor.
    """
    return spread(task, parts_of(task, outputs, targets))


@contextmanager
def evaluating(models: Sequence[nn.Module]) -> Iterator[None]:
    """Evaluation mode of several models at once, without gradients."""
    with ExitStack() as stack:
        for model in models:
            stack.enter_context(eval_mode(model))
        yield


def parts_of(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The metric of each example, (N,), or the sums that it is made of, (N, K)."""
    metric = task.metric_fn
    pooled = isinstance(metric, Metric) and metric.of is not None
    what, wanted = f"metric {metric_name(task)}", f"one score per example, ({len(outputs)},)"
    with blaming(what, f"{wanted}, for outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"):
        found = metric.parts(outputs, targets) if isinstance(metric, Metric) else metric(outputs, targets)
    if not isinstance(found, Tensor) or found.shape[:1] != (len(outputs),) or found.dim() != 1 + pooled:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(expected(what, wanted, got, way_to_scores(found)))
    return found


def way_to_scores(found: object) -> str:
    """What to do about a metric that gives a number for a batch."""
    one = found.dim() == 0 if isinstance(found, Tensor) else isinstance(found, int | float)
    return "Return the score of every example, without the mean over them." if one else ""


def spread(task: Task, parts: Tensor) -> Tensor:
    """Scores of examples, (N,), of all their parts."""
    return task.metric_fn.spread(parts) if isinstance(task.metric_fn, Metric) else parts


def metric_name(task: Task) -> str:
    """What to call the task's metric in a table."""
    if isinstance(task.metric_fn, Metric):
        return task.metric_fn.label
    name = getattr(task.metric_fn, "__name__", type(task.metric_fn).__name__)
    return {"top1": "top-1 %", "binary_accuracy": "accuracy %"}.get(name, name)


def show_estimate(estimate: Estimate) -> str:
    """`87.99 ± 0.33`, the mean and its standard error."""
    return f"{estimate.mean:.4g} ± {estimate.stderr:.2g}"
