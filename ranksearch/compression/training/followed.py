"""Interpolation between the weights before and after training, chosen by held-out divergence.

Along the straight line from the weights before a short training to those after it, outputs change smoothly and the
noise of single steps averages out, so a point in between is often closer to the dense model than either end
(Wortsman et al. 2022, Robust fine-tuning of zero-shot models, arXiv:2109.01903, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from ranksearch.networks import copy_model
from ranksearch.tasks import Estimate

WAYS = (0.75, 0.5, 0.25)
"""Fractions of the way that compete with the weights after training."""


@dataclass(frozen=True)
class Followed:
    """A model, its fraction of the way, and the held-out divergence by which it was chosen."""

    model: nn.Module
    way: float
    divergence: Estimate


def between(before: nn.Module, after: nn.Module, way: float) -> nn.Module:
    """A model whose state is the fraction `way` of the way from `before` to `after`, two models of the same structure.

    Entries that are not floating-point tensors, such as counts, or that training gave another shape are taken from
    `after`.
    """
    start, end = before.state_dict(), after.state_dict()
    model = copy_model(after)
    for (
        name,
        value,
    ) in end.items():  # in place: quantised modules load by the versions that come with the mapping
        end[name] = _mixed(start[name], value, way)
    model.load_state_dict(end)
    return model


def _mixed(start: Any, end: Any, way: float) -> Any:
    if not (isinstance(end, Tensor) and end.is_floating_point() and start.shape == end.shape):
        return end
    # Buffers that a model writes to may have another type than they began with.
    return torch.lerp(start.to(end.dtype), end, way)


def follow(
    before: nn.Module,
    after: nn.Module,
    score: Callable[[nn.Module], Estimate],
    ways: Sequence[float] = WAYS,
) -> Followed:
    """Go back from `after` towards `before` as long as `score` falls; points with an infinite score are skipped."""
    best = Followed(after, 1.0, score(after))
    for way in ways:
        model = between(before, after, way)
        found = Followed(model, way, score(model))
        if isfinite(best.divergence.mean) and found.divergence.mean >= best.divergence.mean:
            break
        best = found
    return best
