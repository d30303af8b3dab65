"""Which ranks of a form to propose: a path from the smallest ones to the cost of the dense layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksearch.calibration import Whitened
from ranksearch.costs import Cost, chain_cost, layer_cost
from ranksearch.decompositions import Decomposition, Ranks
from ranksearch.networks import Chain, Layer

_MAX_VALUES = 1500
"""Values of a single rank that are examined."""

_MAX_STEPS = 128
"""The same for each of several ranks."""


@dataclass(frozen=True)
class RankPath:
    """Ranks by rising parameters, each no smaller than the one before; `tails` estimates their ε from the spectra."""

    ranks: list[Ranks]
    costs: list[Cost]
    tails: NDArray[np.float64]


class RankLimits(NamedTuple):
    """The smallest rank, and the number that ranks are multiples of."""

    least: int
    multiple: int


def rank_path(
    layer: Layer,
    decomposition: Decomposition,
    form: str,
    whitened: Whitened,
    allowed: RankLimits,
    metrics: Sequence[str],
) -> RankPath:
    """Ranks from the smallest up that are cheaper than the dense layer in some metric.

    With several ranks, each step raises the one that saves the most estimated ε per parameter.
    """
    limits = decomposition.max_ranks(layer, form)
    most = _MAX_VALUES if len(limits) == 1 else _MAX_STEPS
    values = [_rank_values(allowed.least, limit, allowed.multiple, most) for limit in limits]
    if not all(values):
        return RankPath([], [], np.empty(0))
    cuts = zip(*(decomposition.spectra(group, form) for group in whitened.groups), strict=True)
    tails = [_tails(torch.stack([own.energies for own in cut]).sum(0)) for cut in cuts]
    dense = layer_cost(layer, metrics)
    at = [0] * len(values)
    ranks, costs, lost = [], [], []
    while True:
        here = tuple(v[k] for v, k in zip(values, at, strict=True))
        cost = chain_cost(layer, decomposition.chain(layer, form, here), metrics)
        if any(cost.of(metric) < dense.of(metric) for metric in metrics):
            ranks.append(here)
            costs.append(cost)
            lost.append(_lost(tails, here))
        step = _best_step(layer, decomposition, form, values, at, tails, cost)
        if step is None:
            return RankPath(ranks, costs, np.array(lost))
        at[step] += 1


def _best_step(
    layer: Layer,
    decomposition: Decomposition,
    form: str,
    values: Sequence[Sequence[int]],
    at: Sequence[int],
    tails: Sequence[NDArray[np.float64]],
    cost: Cost,
) -> int | None:
    """Which rank to raise next; None if each is at its maximum or could not be fully used."""
    if len(values) == 1:
        return 0 if at[0] + 1 < len(values[0]) else None
    here = tuple(v[k] for v, k in zip(values, at, strict=True))
    best, choice = -1.0, None
    for dim, (own, k) in enumerate(zip(values, at, strict=True)):
        if k + 1 == len(own):
            continue
        there = (*here[:dim], own[k + 1], *here[dim + 1 :])
        chain = decomposition.chain(layer, form, there)
        if not _consistent(chain, layer):
            continue
        extra = chain_cost(layer, chain).params - cost.params
        rate = (_lost(tails, here) - _lost(tails, there)) / extra
        if rate > best:
            best, choice = rate, dim
    return choice


def _lost(tails: Sequence[NDArray[np.float64]], ranks: Ranks) -> float:
    """The estimate of ε: half the energy beyond the ranks; 1 if a decomposition has none."""
    if not tails:
        return 1.0
    return sum(float(t[min(r, len(t) - 1)]) for t, r in zip(tails, ranks, strict=True)) / 2


def _rank_values(low: int, high: int, step: int, most: int) -> list[int]:
    """Multiples of `step` from `low` to `high`, at most `most` of them, thinned geometrically."""
    first = -(-low // step)
    last = high // step
    if last < first:
        return []
    if last - first + 1 <= most:
        return [step * k for k in range(first, last + 1)]
    return sorted({step * round(k) for k in np.geomspace(first, last, most)})


def _tails(energies: Tensor) -> NDArray[np.float64]:
    """Energy beyond each rank 0, 1, …, of squared singular values in descending order."""
    return np.append(energies.flip(0).cumsum(0).flip(0).cpu().numpy(), 0.0)


def _consistent(chain: Chain, layer: Layer) -> bool:
    """Whether all ranks can be fully used: none exceeds the rank that the factor on either side can have."""
    for before, after in pairwise(chain):
        taps_before, taps_after = (prod(layer.kernel_size[axis] for axis in f.axes) for f in (before, after))
        rank = before.out_channels
        if rank > before.in_channels * taps_before or rank > after.out_channels * taps_after:
            return False
    return True
