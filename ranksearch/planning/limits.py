"""Several limits at once: the best plan that meets them all, or which of them bind and what could be met instead."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ranksearch.costs import Budget, Shortfall, unmet
from ranksearch.errors import BudgetError
from ranksearch.planning.greedy import Choice, Errors, least_cost
from ranksearch.planning.integer_program import solve, whole_cost
from ranksearch.planning.plan import Table
from ranksearch.planning.ways_out import ways_out

_LARGEST = 1e4
"""What the largest cost counts in a goal: HiGHS stops at a gap of 1e-6, which is to be less than one unit."""


def within_limits(tables: Sequence[Table], budget: Budget, errors: Errors | None = None) -> Choice:
    """The plan with the least sum of errors that meets every limit of a budget.

    Raises BudgetError, which names the limits that bind and the smallest values that are feasible, see `shortfalls`.
    """
    own = [table.errors() for table in tables] if errors is None else [np.asarray(e, float) for e in errors]
    errors_of = np.concatenate(own)
    # HiGHS treats values below its tolerances as zero.
    goal = errors_of / max(float(errors_of.max()), np.finfo(float).tiny)
    found = solve(tables, budget.every, goal)
    if found is None:
        raise cannot_be_met(tables, budget)
    return found


def cannot_be_met(tables: Sequence[Table], budget: Budget) -> BudgetError:
    """The error for a budget that no plan meets."""
    alone = too_small(tables, budget)
    together = () if alone else shortfalls(tables, budget.every)
    return unmet(budget, alone, together, ways_out(tables, budget.metric))


def too_small(tables: Sequence[Table], budget: Budget) -> list[Shortfall]:
    """The limits of a budget that no plan meets, whatever else it costs, with the least that one can cost."""
    least = [Shortfall(each, least_cost(tables, each)) for each in budget.every]
    return [found for found in least if found.least > found.limit.limit]


def shortfalls(tables: Sequence[Table], limits: Sequence[Budget]) -> list[Shortfall]:
    """Which limits to raise, where no plan meets them all: each with its smallest feasible value given the others.

    A limit whose others cannot be met together either is left out, since no value of it would help. If that is so for
    every limit, there are several conflicts; then these are the limits of one of them, each given the others of it.
    """
    found = []
    for each in limits:
        least = _least(tables, each, [other for other in limits if other is not each])
        if least is not None:
            found.append(Shortfall(each, least))
    # Without any of them the rest cannot be met either, so that some conflict is among all but the first.
    return found if found or len(limits) < 3 else shortfalls(tables, limits[1:])


def _least(tables: Sequence[Table], wanted: Budget, limits: Sequence[Budget]) -> int | None:
    """The least that a whole model can cost in the metric of `wanted` within limits; None if they cannot be met."""
    costs = np.concatenate([table.costs(wanted.metric) for table in tables]).astype(float)
    cheapest = solve(tables, limits, costs * (_LARGEST / max(1.0, float(costs.max()))), gap=0.0)
    return None if cheapest is None else whole_cost(tables, wanted, cheapest)
