"""Allocation: one candidate per layer under a budget, a multiple-choice knapsack.

Three allocators share one idea. Every layer has a chain of candidates from cheap to dear, every step along
a chain has a key, and the steps of all layers are walked in the order of their keys for as long as they fit.
`knapsack` walks lower convex hulls by error saved per cost (the Lagrangian relaxation: one sort gives the
whole front; Shoham & Gersho 1988) and then solves what is left exactly; `uniform` walks by the fraction of a
layer's cost; `energy` by the fraction of a layer's energy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ranksearch.costs import Cost, Metric
from ranksearch.errors import BudgetError, InputError, expected
from ranksearch.plan import Table

Choice = tuple[int, ...]
"""One index per table into its candidates."""

Errors = Sequence[NDArray[np.float64]]
"""Per table, one error per candidate, to allocate by instead of the table's own ε."""

UNITS: Mapping[Metric, str] = {"params": "parameters", "flops": "FLOPs"}

_MAX_STATES = 20_000


class Allocator(Protocol):
    """Picks one candidate per table such that the whole model costs at most `limit` in `metric`."""

    def __call__(
        self,
        tables: Sequence[Table],
        limit: int,
        metric: Metric,
        dense: Cost,
        *,
        errors: Errors | None = None,
    ) -> Choice: ...


@dataclass(frozen=True)
class Front:
    """The candidates of one layer that no other beats in (cost, error), by rising cost and falling error."""

    indices: NDArray[np.intp]
    costs: NDArray[np.int64]
    errors: NDArray[np.float64]


def layer_front(table: Table, metric: Metric, errors: NDArray[np.float64] | None = None) -> Front:
    """The Pareto front of one table in one metric; its last entry has the least error."""
    costs, errors = table.costs(metric), table.errors() if errors is None else np.asarray(errors, dtype=float)
    if errors.shape != costs.shape or not np.isfinite(errors).all():
        what = f"errors of {table.layer.name}"
        raise InputError(expected(what, f"{len(costs)} finite numbers", f"shape {errors.shape}: {errors}"))
    order = np.lexsort((errors, costs))
    least = np.minimum.accumulate(errors[order])
    better = np.concatenate(([True], errors[order][1:] < least[:-1]))
    kept = order[better]
    return Front(kept, costs[kept], errors[kept])


def knapsack(
    tables: Sequence[Table], limit: int, metric: Metric, dense: Cost, *, errors: Errors | None = None
) -> Choice:
    """The plan with the least sum of errors that costs at most `limit`.

    The relaxation's solution is topped up greedily; candidates that no better plan can contain (their
    reduced cost exceeds the gap between the two bounds) are dropped, and dynamic programming over the rest
    finds the optimum (Pisinger 1995). Should that need more than 20,000 partial plans at once, it keeps as
    many, evenly spread over the cost, and the result may miss the optimum by less than the gap.

    Raises BudgetError, naming the smallest budget that can be met.
    """
    fronts = _fronts(tables, metric, errors)
    room = _room(tables, fronts, limit, metric, dense)
    chains = [_hull(front) for front in fronts]
    walk = _walk(fronts, chains, [-_rates(f, c) for f, c in zip(fronts, chains, strict=True)], room)
    if walk.blocked is None:
        return _choice(fronts, walk.positions)
    greedy = _top_up(fronts, walk.positions, room)
    return _choice(fronts, _exact(fronts, greedy, room, price=-walk.blocked))


def uniform(
    tables: Sequence[Table],
    limit: int,
    metric: Metric,
    dense: Cost,
    *,
    errors: Errors | None = None,
    weights: Sequence[float] | None = None,
) -> Choice:
    """Every layer keeps the same fraction of its own cost, the largest that fits.

    With `weights` (positive, one per table) layer k keeps a fraction proportional to `weights[k]`, at most
    all. What is left after the largest common fraction goes on being spent in the same order, layers whose
    next candidate does not fit left out. Raises BudgetError.
    """
    fronts = _fronts(tables, metric, errors)
    room = _room(tables, fronts, limit, metric, dense)
    shares = [1.0] * len(tables) if weights is None else weights
    keys = [
        front.costs[1:] / (max(1, table.layer.cost.of(metric)) * share)
        for table, front, share in zip(tables, fronts, shares, strict=True)
    ]
    return _choice(fronts, _walk(fronts, _whole(fronts), keys, room).positions)


def energy(
    tables: Sequence[Table], limit: int, metric: Metric, dense: Cost, *, errors: Errors | None = None
) -> Choice:
    """Every layer keeps the same fraction of its energy, 1 − error / scale, the largest that fits.

    The rest is spent as in `uniform`. Raises BudgetError.
    """
    fronts = _fronts(tables, metric, errors)
    room = _room(tables, fronts, limit, metric, dense)
    keys = []
    for table, front in zip(tables, fronts, strict=True):
        scale = table.scale if errors is None else front.errors[0]
        keys.append(1 - front.errors[:-1] / max(scale, np.finfo(float).tiny))
    return _choice(fronts, _walk(fronts, _whole(fronts), keys, room).positions)


ALLOCATORS: Mapping[str, Allocator] = {"knapsack": knapsack, "uniform": uniform, "energy": energy}


def get_allocator(name: str) -> Allocator:
    """The allocator of that name."""
    if name not in ALLOCATORS:
        raise InputError(expected("allocator", " or ".join(ALLOCATORS), repr(name)))
    return ALLOCATORS[name]


def lagrangian_front(tables: Sequence[Table], metric: Metric) -> list[Choice]:
    """Every vertex of the convex hull of (cost, error) over all plans, from the cheapest to the dense one."""
    fronts = _fronts(tables, metric, None)
    chains = [_hull(front) for front in fronts]
    positions = [int(front.indices[0]) for front in fronts]
    choices = [tuple(positions)]
    steps = _steps(fronts, chains, [-_rates(f, c) for f, c in zip(fronts, chains, strict=True)])
    for n, (layer, step) in enumerate(zip(steps.layer, steps.step, strict=True)):
        positions[layer] = int(fronts[layer].indices[chains[layer][step + 1]])
        if n + 1 == len(steps.layer) or steps.key[n + 1] != steps.key[n]:
            choices.append(tuple(positions))
    return choices


def smallest_limit(tables: Sequence[Table], metric: Metric, dense: Cost) -> int:
    """Cost of the cheapest plan of the whole model."""
    return _fixed(tables, metric, dense) + sum(int(table.costs(metric).min()) for table in tables)


# ---- walking ----


@dataclass(frozen=True)
class _Steps:
    """Steps of all layers along their chains in walking order: key, layer, step in its chain, extra cost."""

    key: NDArray[np.float64]
    layer: list[int]
    step: list[int]
    cost: list[int]


@dataclass(frozen=True)
class _Walk:
    """Where a walk ended: positions on the layers' fronts, and the key of the first step that did not fit."""

    positions: list[int]
    blocked: float | None


def _steps(
    fronts: Sequence[Front], chains: Sequence[Sequence[int]], keys: Sequence[NDArray[np.float64]]
) -> _Steps:
    # Rounding must not turn the order of a chain around.
    ordered = [np.maximum.accumulate(key) if len(key) else key for key in keys]
    key = np.concatenate([*ordered, np.empty(0)])
    layer = np.concatenate([*(np.full(len(k), i) for i, k in enumerate(keys)), np.empty(0, int)]).astype(int)
    step = np.concatenate([*(np.arange(len(k)) for k in keys), np.empty(0, int)]).astype(int)
    cost = [np.diff(front.costs[chain]) for front, chain in zip(fronts, chains, strict=True)]
    order = np.lexsort((step, layer, key))
    every = np.concatenate([*cost, np.empty(0, np.int64)]).astype(np.int64)
    return _Steps(key[order], layer[order].tolist(), step[order].tolist(), every[order].tolist())


def _walk(
    fronts: Sequence[Front], chains: Sequence[Sequence[int]], keys: Sequence[NDArray[np.float64]], room: int
) -> _Walk:
    """Take steps by rising key; a step that does not fit ends its layer's chain, not the walk."""
    steps = _steps(fronts, chains, keys)
    positions = [chain[0] for chain in chains]
    left = room - sum(int(front.costs[p]) for front, p in zip(fronts, positions, strict=True))
    blocked: float | None = None
    ended: set[int] = set()
    for key, layer, step, cost in zip(steps.key, steps.layer, steps.step, steps.cost, strict=True):
        if layer in ended:
            continue
        if cost <= left:
            positions[layer] = chains[layer][step + 1]
            left -= cost
        else:
            ended.add(layer)
            blocked = float(key) if blocked is None else blocked
    return _Walk(positions, blocked)


def _hull(front: Front) -> list[int]:
    """Positions of the lower convex hull of one front."""
    costs, errors = front.costs.tolist(), front.errors.tolist()
    hull: list[int] = []
    for j in range(len(costs)):
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            before = (errors[a] - errors[b]) / (costs[b] - costs[a])
            if before > (errors[b] - errors[j]) / (costs[j] - costs[b]):
                break
            hull.pop()
        hull.append(j)
    return hull


def _rates(front: Front, chain: Sequence[int]) -> NDArray[np.float64]:
    """Error saved per cost, for each step of a chain."""
    rates: NDArray[np.float64] = -np.diff(front.errors[chain]) / np.diff(front.costs[chain])
    return rates


def _whole(fronts: Sequence[Front]) -> list[list[int]]:
    return [list(range(len(front.indices))) for front in fronts]


def _fronts(tables: Sequence[Table], metric: Metric, errors: Errors | None) -> list[Front]:
    if errors is None:
        return [layer_front(table, metric) for table in tables]
    return [layer_front(table, metric, own) for table, own in zip(tables, errors, strict=True)]


def _choice(fronts: Sequence[Front], positions: Sequence[int]) -> Choice:
    return tuple(int(front.indices[p]) for front, p in zip(fronts, positions, strict=True))


# ---- the budget ----


def _fixed(tables: Sequence[Table], metric: Metric, dense: Cost) -> int:
    return dense.of(metric) - sum(table.layer.cost.of(metric) for table in tables)


def _room(tables: Sequence[Table], fronts: Sequence[Front], limit: int, metric: Metric, dense: Cost) -> int:
    """What the layers may cost together."""
    fixed, total = _fixed(tables, metric, dense), dense.of(metric)
    least = fixed + sum(int(front.costs[0]) for front in fronts)
    if limit < least:
        fraction = ceil(least / total * 10_000) / 10_000
        raise BudgetError(
            expected(
                "budget",
                f"at least {fraction:.4f} ({least:,} of {total:,} {UNITS[metric]})",
                f"{limit / total:.4f} ({limit:,})",
                "Ask for more, or allow smaller ranks, more decompositions or more layers.",
            )
        )
    return limit - fixed


# ---- filling the slack ----


def _top_up(fronts: Sequence[Front], positions: Sequence[int], room: int) -> list[int]:
    """Move single layers up their fronts, best error saved per cost first, until nothing fits."""
    positions = list(positions)
    left = room - sum(int(front.costs[p]) for front, p in zip(fronts, positions, strict=True))
    while True:
        best, move = 0.0, None
        for layer, (front, p) in enumerate(zip(fronts, positions, strict=True)):
            end = int(np.searchsorted(front.costs, front.costs[p] + left, side="right"))
            if end > p + 1:
                saved = front.errors[p] - front.errors[p + 1 : end]
                rates = saved / (front.costs[p + 1 : end] - front.costs[p])
                j = int(rates.argmax())
                if rates[j] > best:
                    best, move = float(rates[j]), (layer, p + 1 + j)
        if move is None:
            return positions
        layer, p = move
        left -= int(fronts[layer].costs[p] - fronts[layer].costs[positions[layer]])
        positions[layer] = p


def _exact(fronts: Sequence[Front], greedy: Sequence[int], room: int, price: float) -> list[int]:
    """The best positions, at least as good as `greedy`; `price` is the multiplier of the relaxation.

    Every plan's error is at least bound + Σ reduced + price · (unspent room), which prunes both single
    candidates and partial plans.
    """
    priced = [front.errors + price * front.costs for front in fronts]
    best = sum(float(front.errors[p]) for front, p in zip(fronts, greedy, strict=True))
    bound = sum(float(p.min()) for p in priced) - price * room
    gap = best - bound + 1e-9 * abs(best)
    kept = [np.flatnonzero(p - p.min() <= gap) for p in priced]
    # Layers with one candidate left first: they cost nothing, and what follows is bounded best from there.
    order = sorted(range(len(fronts)), key=lambda layer: (len(kept[layer]), layer))
    least = sum(int(fronts[layer].costs[kept[layer][0]]) for layer in order)
    most = sum(int(fronts[layer].costs[kept[layer][-1]]) for layer in order)

    cost, reduced, error = np.zeros(1, np.int64), np.zeros(1), np.zeros(1)
    trail: list[tuple[NDArray[np.intp], NDArray[np.intp]]] = []
    for layer in order:
        front, keep = fronts[layer], kept[layer]
        least -= int(front.costs[keep[0]])
        most -= int(front.costs[keep[-1]])
        extra = priced[layer][keep] - priced[layer].min()
        cost_ = (cost[:, None] + front.costs[keep]).ravel()
        reduced_ = (reduced[:, None] + extra).ravel()
        error_ = (error[:, None] + front.errors[keep]).ravel()
        unspent = np.maximum(0, room - most - cost_)
        alive = np.flatnonzero((cost_ + least <= room) & (reduced_ + price * unspent <= gap))
        alive = alive[_undominated(cost_[alive], error_[alive])]
        if len(alive) > _MAX_STATES:
            alive = alive[np.linspace(0, len(alive) - 1, _MAX_STATES).round().astype(int)]
        if not len(alive):
            return list(greedy)
        cost, reduced, error = cost_[alive], reduced_[alive], error_[alive]
        trail.append((alive // len(keep), keep[alive % len(keep)]))

    state = int(np.lexsort((cost, error))[0])
    if error[state] >= best:
        return list(greedy)
    positions = [0] * len(fronts)
    for layer, (parents, picks) in zip(reversed(order), reversed(trail), strict=True):
        positions[layer] = int(picks[state])
        state = int(parents[state])
    return positions


def _undominated(cost: NDArray[np.int64], error: NDArray[np.float64]) -> NDArray[np.intp]:
    """Indices of the Pareto front of (cost, error), by rising cost."""
    order = np.lexsort((error, cost))
    if not len(order):
        return order
    least = np.minimum.accumulate(error[order])
    return order[np.concatenate(([True], error[order][1:] < least[:-1]))]
