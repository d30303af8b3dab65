"""Allocation: one candidate per layer under a budget, a multiple-choice knapsack.

Three allocators share one idea. Every layer has a chain of candidates from cheap to expensive, every step along
a chain has a key, and the steps of all layers are walked in the order of their keys for as long as they fit.
`knapsack` walks lower convex hulls by error saved per cost (the Lagrangian relaxation: one sort gives the
whole front; Shoham & Gersho 1988) and then solves the remaining problem exactly; `uniform` walks by the fraction of a
layer's cost; `energy` by the fraction of a layer's energy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ranksearch.costs import Budget
from ranksearch.planning.greedy import (
    Choice,
    Errors,
    Front,
    choice_of,
    fronts_of,
    lower_hull,
    rates,
    room_for,
    top_up,
    walk,
    whole,
)
from ranksearch.planning.limits import within_limits
from ranksearch.planning.plan import Table

_MAX_STATES = 20_000


def knapsack(tables: Sequence[Table], budget: Budget, *, errors: Errors | None = None) -> Choice:
    """The plan with the least sum of errors within the budget.

    The relaxation's solution is topped up greedily; candidates that no better plan can contain (their
    reduced cost exceeds the gap between the two bounds) are dropped, and dynamic programming over the rest
    finds the optimum (Pisinger 1995). If that needs more than 20,000 partial plans at once, it keeps 20,000,
    evenly spread over the cost, and the result may miss the optimum by less than the gap.

    With several limits it is an integer program, see `within_limits`.

    Raises BudgetError, naming the smallest budget that can be met.
    """
    if budget.also:
        return within_limits(tables, budget, errors)
    fronts = fronts_of(tables, budget.metric, errors)
    room = room_for(tables, fronts, budget)
    chains = [lower_hull(front) for front in fronts]
    walked = walk(fronts, chains, [-rates(f, c) for f, c in zip(fronts, chains, strict=True)], room)
    if walked.blocked is None:
        return choice_of(fronts, walked.positions)
    greedy = top_up(fronts, walked.positions, room)
    return choice_of(fronts, _exact(fronts, greedy, room, price=-walked.blocked))


def analytic(tables: Sequence[Table], budget: Budget) -> Choice:
    """The `knapsack` of the balanced errors: the plan from which a search starts, and which needs no trials."""
    return knapsack(tables, budget, errors=balanced_errors(tables))


def balanced_errors(tables: Sequence[Table]) -> Errors:
    """The candidates' ε over the root of the layer's scale: halfway between ε and the relative error.

    returns: For each table a (c,) float64 array, one for each of its c candidates.

    ε is exact in the limit of small changes. For a strongly compressed layer the second-order estimate is far from
    where it is valid. It is too large for a layer with a large scale, since no divergence grows that far, and too
    small for one with a small scale, whose error adds to that of the others. Relative errors (BALF,
    arXiv:2509.25136) have no such extremes, but ignore how important a layer is. Each layer's errors are multiplied
    by its weight.
    """
    tiny = np.finfo(float).tiny
    return [table.weight * table.errors() / max(table.scale, tiny) ** 0.5 for table in tables]


def uniform(
    tables: Sequence[Table],
    budget: Budget,
    *,
    errors: Errors | None = None,
    weights: Sequence[float] | None = None,
) -> Choice:
    """Every layer keeps the same fraction of its own cost, the largest that fits.

    With `weights` (positive, one per table) layer k keeps a fraction proportional to `weights[k]`, at most
    all. What remains after the largest common fraction is spent in the same order, skipping layers whose
    next candidate does not fit. Raises BudgetError.
    """
    fronts = fronts_of(tables, budget.metric, errors)
    room = room_for(tables, fronts, budget)
    shares = [1.0] * len(tables) if weights is None else weights
    keys = [
        front.costs[1:] / (max(1, table.dense.of(budget.metric)) * share)
        for table, front, share in zip(tables, fronts, shares, strict=True)
    ]
    return choice_of(fronts, walk(fronts, whole(fronts), keys, room).positions)


def energy(tables: Sequence[Table], budget: Budget, *, errors: Errors | None = None) -> Choice:
    """Every layer keeps the same fraction of its energy, 1 − error / scale, the largest that fits.

    For a layer with a weight it is 1 − weight · error / scale. The rest is spent as in `uniform`.
    Raises BudgetError.
    """
    fronts = fronts_of(tables, budget.metric, errors)
    room = room_for(tables, fronts, budget)
    keys = []
    for table, front in zip(tables, fronts, strict=True):
        scale = table.scale / table.weight if errors is None else front.errors[0]
        keys.append(1 - front.errors[:-1] / max(scale, np.finfo(float).tiny))
    return choice_of(fronts, walk(fronts, whole(fronts), keys, room).positions)


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
    # Layers with one candidate left come first: they add no partial plans and tighten the bounds for the rest.
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
