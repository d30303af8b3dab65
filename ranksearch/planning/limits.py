"""Several limits at once: one candidate per layer within a budget of every cost metric, as an integer program.

The exact dynamic program of `knapsack` handles one cost. With several the choice is a multiple-choice,
multi-dimensional knapsack (Kellerer, Pferschy & Pisinger 2004, chapters 9 and 11), which HiGHS solves by
branch and cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, milp
from scipy.sparse import csr_array

from ranksearch.costs import Budget
from ranksearch.errors import BudgetError
from ranksearch.planning.greedy import Choice, Errors, fixed_cost, too_small
from ranksearch.planning.plan import Table

GAP = 1e-6
"""Relative gap to the best possible sum of errors at which a plan is accepted."""

SECONDS = 60.0
"""The solver stops after this time with the best plan that it has."""


def within_limits(tables: Sequence[Table], budget: Budget, errors: Errors | None = None) -> Choice:
    """The plan with the least sum of errors that meets every limit of a budget.

    Raises BudgetError, naming a limit that cannot be met and its smallest feasible value given the others.
    """
    own = [table.errors() for table in tables] if errors is None else [np.asarray(e, float) for e in errors]
    errors_of = np.concatenate(own)
    # HiGHS treats values below its tolerances as zero.
    found = _solve(tables, budget.every, errors_of / max(float(errors_of.max()), np.finfo(float).tiny))
    if found is None:
        raise _cannot_be_met(tables, budget)
    return found


def _solve(tables: Sequence[Table], limits: Sequence[Budget], goal: NDArray[np.float64]) -> Choice | None:
    """One candidate per table within limits, with the least sum of `goal`, one number per candidate of all tables."""
    room = [float(budget.limit - fixed_cost(tables, budget)) for budget in limits]
    while True:
        choice = _relaxed(tables, limits, room, goal)
        if choice is None:
            return None
        over = [_cost(tables, budget, choice) - budget.limit for budget in limits]
        if all(amount <= 0 for amount in over):
            return choice
        # The solver's tolerance allows plans slightly above a limit.
        room = [own - max(0, amount) for own, amount in zip(room, over, strict=True)]


def _relaxed(
    tables: Sequence[Table], limits: Sequence[Budget], room: Sequence[float], goal: NDArray[np.float64]
) -> Choice | None:
    """The same, with `room` as the limits on the layers' total cost, up to the solver's tolerance."""
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
        options={"mip_rel_gap": GAP, "time_limit": SECONDS},
    )
    if found.x is None:
        return None
    starts = np.cumsum([0, *counts[:-1]])
    return tuple(int(np.argmax(found.x[k : k + count])) for k, count in zip(starts, counts, strict=True))


def _cost(tables: Sequence[Table], budget: Budget, choice: Choice) -> int:
    """Of the whole model, in a budget's metric."""
    picked = sum(table.candidates[k].cost.of(budget.metric) for table, k in zip(tables, choice, strict=True))
    return fixed_cost(tables, budget) + picked


def _cannot_be_met(tables: Sequence[Table], budget: Budget) -> BudgetError:
    """If no plan meets all limits: the first that cannot be met together with those before it, and its minimum."""
    met: list[Budget] = []
    for each in budget.every:
        costs = np.concatenate([table.costs(each.metric) for table in tables]).astype(float)
        cheapest = _solve(tables, met, costs / max(1.0, float(costs.max())))
        assert cheapest is not None
        if (least := _cost(tables, each, cheapest)) > each.limit:
            return too_small(each, least)
        met.append(each)
    raise AssertionError("every limit can be met")
