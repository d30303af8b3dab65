"""One candidate per layer within limits in several cost metrics, as an integer program.

It is a multiple-choice, multi-dimensional knapsack (Kellerer, Pferschy & Pisinger 2004, chapters 9 and 11), which HiGHS
solves by branch and cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ranksearch.costs import Budget
from ranksearch.planning.greedy import Choice, fixed_cost
from ranksearch.planning.plan import Table

GAP = 1e-6
"""Relative gap to the best possible sum at which a plan is accepted."""

SECONDS = 60.0
"""The solver stops after this time with the best plan that it has."""


def solve(
    tables: Sequence[Table], limits: Sequence[Budget], goal: NDArray[np.float64], *, gap: float = GAP
) -> Choice | None:
    """One candidate per table within limits, with the least sum of `goal`; None if there is no such choice.

    goal: An (n,) float64 array, one number for each of the n candidates of all tables.
    """
    room = [float(budget.limit - fixed_cost(tables, budget)) for budget in limits]
    while True:
        choice = _relaxed(tables, limits, room, goal, gap)
        if choice is None:
            return None
        over = [whole_cost(tables, budget, choice) - budget.limit for budget in limits]
        if all(amount <= 0 for amount in over):
            return choice
        # The solver's tolerance allows plans slightly above a limit.
        room = [own - max(0, amount) for own, amount in zip(room, over, strict=True)]


def _relaxed(
    tables: Sequence[Table],
    limits: Sequence[Budget],
    room: Sequence[float],
    goal: NDArray[np.float64],
    gap: float,
) -> Choice | None:
    """The same, with `room` as the limits on the layers' total cost, up to the solver's tolerance."""
    # One limit alone need not wait for these.
    from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
    from scipy.sparse import csr_array

    counts = [len(table.candidates) for table in tables]
    layer = np.repeat(np.arange(len(tables)), counts)
    one_each = csr_array((np.ones(len(layer)), (layer, np.arange(len(layer)))))
    constraints = [LinearConstraint(one_each, 1, 1)]
    for budget, most in zip(limits, room, strict=True):
        costs = np.concatenate([table.costs(budget.metric) for table in tables]).astype(float)
        scale = max(1.0, float(costs.max()))
        constraints.append(LinearConstraint(costs[None, :] / scale, -np.inf, most / scale))
    found: OptimizeResult = milp(
        goal,
        integrality=np.ones(len(goal)),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": gap, "time_limit": SECONDS},
    )
    if found.x is None:
        return None
    starts = np.cumsum([0, *counts[:-1]])
    return tuple(int(np.argmax(found.x[k : k + count])) for k, count in zip(starts, counts, strict=True))


def whole_cost(tables: Sequence[Table], budget: Budget, choice: Choice) -> int:
    """Of the whole model, in a budget's metric."""
    picked = sum(table.candidates[k].cost.of(budget.metric) for table, k in zip(tables, choice, strict=True))
    return fixed_cost(tables, budget) + picked
