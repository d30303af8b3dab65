"""Greedy walks: steps along the layers' candidates in order of a key, as long as they fit the budget.

Shared by the allocators: the Pareto front of a layer's candidates, chains of positions on it, and the walk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranksearch.costs import Budget, Shortfall, unmet
from ranksearch.errors import InputError, expected
from ranksearch.planning.plan import Table
from ranksearch.planning.ways_out import ways_out

Choice = tuple[int, ...]
"""One index per table into its candidates."""

Errors = Sequence[NDArray[np.float64]]
"""Per table, one error per candidate, used for the allocation instead of the table's own ε."""


@dataclass(frozen=True)
class Front:
    """The candidates of one layer that no other dominates in (cost, error), by rising cost and falling error.

    indices: An (f,) int64 array: their indices in the table.
    costs: An (f,) int64 array.
    errors: An (f,) float64 array.
    """

    indices: NDArray[np.intp]
    costs: NDArray[np.int64]
    errors: NDArray[np.float64]


def layer_front(table: Table, metric: str, errors: NDArray[np.float64] | None = None) -> Front:
    """The Pareto front of one table in one metric; its last entry has the least error.

    errors: A (c,) float64 array, one for each of the table's c candidates; None stands for their ε.
    """
    costs, errors = table.costs(metric), table.errors() if errors is None else np.asarray(errors, dtype=float)
    if errors.shape != costs.shape or not np.isfinite(errors).all():
        what = f"errors of {table.layer.name}"
        raise InputError(expected(what, f"{len(costs)} finite numbers", f"shape {errors.shape}: {errors}"))
    order = np.lexsort((errors, costs))
    least = np.minimum.accumulate(errors[order])
    better = np.concatenate(([True], errors[order][1:] < least[:-1]))
    kept = order[better]
    return Front(kept, costs[kept], errors[kept])


@dataclass(frozen=True)
class Steps:
    """Steps of all layers along their chains in walking order: key, layer, step in its chain, extra cost."""

    key: NDArray[np.float64]
    layer: list[int]
    step: list[int]
    cost: list[int]


@dataclass(frozen=True)
class Walk:
    """Where a walk ended: positions on the layers' fronts, and the key of the first step that did not fit."""

    positions: list[int]
    blocked: float | None


def steps_of(
    fronts: Sequence[Front], chains: Sequence[Sequence[int]], keys: Sequence[NDArray[np.float64]]
) -> Steps:
    """Every step of every chain, by rising key."""
    # Rounding must not reverse the order of a chain.
    ordered = [np.maximum.accumulate(key) if len(key) else key for key in keys]
    key = np.concatenate([*ordered, np.empty(0)])
    layer = np.concatenate([*(np.full(len(k), i) for i, k in enumerate(keys)), np.empty(0, int)]).astype(int)
    step = np.concatenate([*(np.arange(len(k)) for k in keys), np.empty(0, int)]).astype(int)
    cost = [np.diff(front.costs[chain]) for front, chain in zip(fronts, chains, strict=True)]
    order = np.lexsort((step, layer, key))
    every = np.concatenate([*cost, np.empty(0, np.int64)]).astype(np.int64)
    return Steps(key[order], layer[order].tolist(), step[order].tolist(), every[order].tolist())


def walk(
    fronts: Sequence[Front], chains: Sequence[Sequence[int]], keys: Sequence[NDArray[np.float64]], room: int
) -> Walk:
    """Take steps by rising key; a step that does not fit ends its layer's chain, not the walk."""
    steps = steps_of(fronts, chains, keys)
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
    return Walk(positions, blocked)


def walk_on(
    fronts: Sequence[Front], positions: Sequence[int], keys: Sequence[NDArray[np.float64]], room: int
) -> list[int]:
    """Continue from `positions` along whole fronts, whose steps have these keys, until nothing fits."""
    chains = [list(range(p, len(front.indices))) for front, p in zip(fronts, positions, strict=True)]
    return walk(fronts, chains, [key[p:] for key, p in zip(keys, positions, strict=True)], room).positions


def top_up(fronts: Sequence[Front], positions: Sequence[int], room: int) -> list[int]:
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


def lower_hull(front: Front) -> list[int]:
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


def rates(front: Front, chain: Sequence[int]) -> NDArray[np.float64]:
    """Error saved per cost.

    chain: s + 1 positions on the front.
    returns: An (s,) float64 array, one for each step of the chain.
    """
    rates: NDArray[np.float64] = -np.diff(front.errors[chain]) / np.diff(front.costs[chain])
    return rates


def whole(fronts: Sequence[Front]) -> list[list[int]]:
    """The chains that include every position."""
    return [list(range(len(front.indices))) for front in fronts]


def fronts_of(tables: Sequence[Table], metric: str, errors: Errors | None) -> list[Front]:
    """The Pareto front of each table."""
    if errors is None:
        return [layer_front(table, metric) for table in tables]
    return [layer_front(table, metric, own) for table, own in zip(tables, errors, strict=True)]


def choice_of(fronts: Sequence[Front], positions: Sequence[int]) -> Choice:
    """Positions on the fronts as indices into the tables."""
    return tuple(int(front.indices[p]) for front, p in zip(fronts, positions, strict=True))


def fixed_cost(tables: Sequence[Table], budget: Budget) -> int:
    """Cost of the model without its factorisable layers, in the budget's own metric."""
    return budget.dense - sum(table.dense.of(budget.metric) for table in tables)


def least_cost(tables: Sequence[Table], budget: Budget) -> int:
    """What the cheapest plan of the whole model costs, in the budget's own metric."""
    return fixed_cost(tables, budget) + sum(int(table.costs(budget.metric).min()) for table in tables)


def room_for(tables: Sequence[Table], fronts: Sequence[Front], budget: Budget) -> int:
    """The limit on the total cost of the layers. Raises BudgetError, naming the smallest budget that can be met."""
    fixed = fixed_cost(tables, budget)
    least = fixed + sum(int(front.costs[0]) for front in fronts)
    if budget.limit < least:
        raise unmet(budget, [Shortfall(budget, least)], allow=ways_out(tables, budget.metric))
    return budget.limit - fixed
