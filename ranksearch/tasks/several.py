"""Losses of models with several outputs: a weighted sum, each output with a loss of its own.

What counts of a model is one tensor: the outputs side by side, flattened. The loss takes them apart again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Generator, Tensor

from ranksearch.errors import InputError, expected
from ranksearch.tasks.losses import VOID, Loss, MetricFn
from ranksearch.tasks.metrics import Metric


@dataclass(frozen=True)
class Part:
    """One of the outputs. name: its path. shape: of an example's, without the first axis."""

    name: str
    shape: tuple[int, ...]
    weight: float
    loss: Loss = field(repr=False)

    @property
    def of_targets(self) -> tuple[int, ...]:
        """The shape of an example's target."""
        if self.loss.axis is None:
            return self.shape
        return self.shape[1:] if self.loss.axis == 1 else self.shape[:-1]

    @property
    def label(self) -> str:
        """`0.4 × squared_error of boxes`, the weight to its last digit."""
        return f"{'' if self.weight == 1 else f'{self.weight!r} × '}{self.loss.name} of {self.name}"


def summed_loss(parts: Sequence[Part]) -> Loss:
    """The sum of the losses of several outputs (N, D), times their weights; D is the size of all.

    Targets are those of the outputs side by side (N, T), or of the first one alone, (N, …), as classes of a model with
    auxiliary outputs are; then only that one counts. The metric is that of the first output.
    """
    first = parts[0].loss.metric
    several = _Several(tuple(parts))
    metric: MetricFn | None = None if first is None else _of_first(several, first)
    return Loss(
        name=" + ".join(part.label for part in parts),
        value=several.value,
        sample=several.sample,
        divergence=several.divergence,
        metric=metric,
        softens=all(part.loss.softens for part in parts),
        of_samples=several.of_samples,
        parts=tuple(part.loss for part in parts),
    )


def packed(targets: Any) -> Tensor | None:
    """Targets (N, …) of several outputs, in a tuple, a list or a dict in their order, as one tensor (N, T); None where
    they are something else."""
    found = list(targets.values()) if isinstance(targets, dict) else targets
    if not isinstance(found, list | tuple) or not all(isinstance(t, Tensor) and t.dim() for t in found):
        return None
    return torch.cat([_flat(target) for target in found], dim=1)


@dataclass(frozen=True)
class _Several:
    parts: tuple[Part, ...]

    def value(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._sum(outputs, targets, lambda weight: weight)

    def of_samples(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Its gradients are those of each output times the root of its weight. Targets are drawn independently, so that
        their second moments are the weighted sum of those of the outputs."""
        return self._sum(outputs, targets, lambda weight: weight**0.5)

    def sample(self, outputs: Tensor, generator: Generator) -> Tensor:
        pairs = zip(self.parts, self.outputs(outputs), strict=True)
        return torch.cat([_flat(part.loss.sample(own, generator)) for part, own in pairs], dim=1)

    def divergence(self, dense: Tensor, compressed: Tensor, temperature: float = 1.0) -> Tensor:
        every = zip(self.parts, self.outputs(dense), self.outputs(compressed), strict=True)
        terms = [part.weight * part.loss.divergence(a, b, temperature) for part, a, b in every]
        return torch.stack(terms).sum(0)

    def outputs(self, outputs: Tensor) -> list[Tensor]:
        """Those of each part, (N, …), from all of them, (N, D)."""
        return _apart(outputs, [part.shape for part in self.parts], "outputs")

    def _sum(self, outputs: Tensor, targets: Tensor, weigh: Callable[[float], float]) -> Tensor:
        every = zip(self.parts, self.outputs(outputs), self._targets(targets), strict=False)
        return torch.stack([weigh(part.weight) * part.loss.value(o, t) for part, o, t in every]).sum(0)

    def _targets(self, targets: Tensor) -> list[Tensor]:
        """Those of each part, or of the first one alone."""
        shapes = [part.of_targets for part in self.parts]
        if targets.numel() == len(targets) * prod(shapes[0]) != len(targets) * sum(map(prod, shapes)):
            return [targets]
        classes = [part.loss.axis is not None for part in self.parts]
        apart = _apart(_flat(targets), shapes, "targets")
        return [
            own.nan_to_num(nan=VOID).long() if whole else own
            for own, whole in zip(apart, classes, strict=True)
        ]


def _of_first(several: _Several, metric: MetricFn) -> MetricFn:
    """A metric of the first output and its targets."""
    name = several.parts[0].name

    def scores(outputs: Tensor, targets: Tensor) -> Tensor:
        own, wanted = several.outputs(outputs)[0], several._targets(targets)[0]
        return metric.parts(own, wanted) if isinstance(metric, Metric) else metric(own, wanted)

    if isinstance(metric, Metric):
        return Metric(metric.name, f"{metric.label} of {name}", scores, metric.of)
    called = getattr(metric, "__name__", "metric")
    return Metric(called, f"{'top-1 %' if called == 'top1' else called} of {name}", scores)


def _flat(tensor: Tensor) -> Tensor:
    """(N, …) → (N, T), in a precision that classes are whole numbers in."""
    exact = tensor if tensor.dtype == torch.float64 else tensor.float()
    return exact.reshape(len(tensor), -1)


def _apart(whole: Tensor, shapes: Sequence[tuple[int, ...]], what: str) -> list[Tensor]:
    """(N, T) as tensors of these shapes."""
    sizes = [prod(shape) for shape in shapes]
    if whole.dim() != 2 or whole.shape[1] != sum(sizes):
        wanted = (
            f"those of {len(shapes)} outputs, of the shapes {', '.join(map(str, shapes))}, for each example"
        )
        raise InputError(expected(what, wanted, f"the shape {tuple(whole.shape)}"))
    return [own.reshape(-1, *shape) for own, shape in zip(whole.split(sizes, dim=1), shapes, strict=True)]
