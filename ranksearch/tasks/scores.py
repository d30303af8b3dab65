"""Scores measured by running a model: outputs, divergence from the dense model, the task's metric."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor, nn

from ranksearch.errors import InputError, blaming, expected
from ranksearch.networks import eval_mode, forward
from ranksearch.tasks.losses import Loss
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


def evaluate(model: nn.Module, task: Task, role: Role) -> Estimate | None:
    """The task's metric on the data of a role; None where it has no data or no labels."""
    if task.dataset(role) is None:
        return None
    scores = []
    with eval_mode(model):
        for inputs, targets in task.batches(role):
            if targets is None:
                return None
            scores.append(_scored(task, forward(model, inputs, task.output), targets).cpu())
    return Estimate.of(torch.cat(scores))


def _scored(task: Task, outputs: Tensor, targets: Tensor) -> Tensor:
    """The metric of each example, (N,)."""
    name = metric_name(task)
    what, wanted = f"metric {name}", f"one score per example, ({len(outputs)},)"
    with blaming(what, f"{wanted}, for outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}"):
        found = task.metric_fn(outputs, targets)
    if not isinstance(found, Tensor) or found.shape != (len(outputs),):
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(expected(what, wanted, got))
    return found


def metric_name(task: Task) -> str:
    """What to call the task's metric in a table."""
    name = getattr(task.metric_fn, "__name__", type(task.metric_fn).__name__)
    return {"top1": "top-1 %", "binary_accuracy": "accuracy %"}.get(name, name)


def show_estimate(estimate: Estimate) -> str:
    """`87.99 ± 0.33`, the mean and its standard error."""
    return f"{estimate.mean:.4g} ± {estimate.stderr:.2g}"
