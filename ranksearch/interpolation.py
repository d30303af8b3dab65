"""How far to follow a training: between the weights before and after it, by held-out divergence.

Along the straight line from a model to what a short training makes of it, outputs change smoothly and the noise of
single steps averages out, so that a point in between is often nearer to the dense model than either end
(Wortsman et al. 2022, Robust fine-tuning of zero-shot models, arXiv:2109.01903, section 3).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ranksearch.evaluate import Estimate

WAYS = (0.75, 0.5, 0.25)
"""Parts of the way that compete with the whole of it."""


@dataclass(frozen=True)
class Followed:
    """A model, the part of the way it lies at, and the held-out divergence that chose it."""

    model: nn.Module
    way: float
    divergence: Estimate


def between(before: nn.Module, after: nn.Module, way: float) -> nn.Module:
    """A model with the weights and buffers `way` of the way from `before` to `after`, two models of one structure.

    Whole numbers among them, such as counts, are those of `after`.
    """
    start, end = before.state_dict(), after.state_dict()
    model = copy.deepcopy(after)
    model.load_state_dict(
        {k: torch.lerp(start[k], end[k], way) if end[k].is_floating_point() else end[k] for k in end}
    )
    return model


def follow(
    before: nn.Module,
    after: nn.Module,
    score: Callable[[nn.Module], Estimate],
    ways: Sequence[float] = WAYS,
) -> Followed:
    """Turn back from `after` as long as that brings the model nearer to the dense one, by `score`."""
    best = Followed(after, 1.0, score(after))
    for way in ways:
        model = between(before, after, way)
        found = Followed(model, way, score(model))
        if found.divergence.mean >= best.divergence.mean or math.isnan(found.divergence.mean):
            break
        best = found
    return best
