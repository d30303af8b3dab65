"""Budgets of time: the plan's time is measured, and the allocation repeated until the measured time meets the budget.

Times of parts do not add up exactly to that of a network. So the allocation gets another limit than the budget, found
by the secant method from the plans that were measured.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from ranksearch.costs import Budget, Cost
from ranksearch.errors import BudgetError, expected
from ranksearch.planning import Choice, Plan, Problem, chains_of, least_cost
from ranksearch.progress import Progress, no_progress
from ranksearch.searching.front import Evaluated
from ranksearch.timing import AIM, Ratio, interpolated

log = logging.getLogger(__name__)

TRIES = 8
"""Plans that are measured for a budget at most."""

CLOSE = 0.97
"""A plan that takes at least this much of what it may take is not improved any further."""

STEP = 1.01
"""By how much the limit rises where the same plan comes again."""

DOWN = 0.94
"""By how much the limit falls below the smallest one where no plan was fast enough, and the times that were measured
do not fall with it."""


Allocate = Callable[[Budget], Choice]
"""Picks a plan within a budget, by predicted time."""


@dataclass(frozen=True)
class Timed:
    """A measured plan: its time over the dense model's, what was predicted of that, and the budget that it was
    allocated within, which limits the prediction.

    tried: of all plans that were measured on the way, what was predicted and the median that was measured.
    """

    choice: Choice
    ratio: Ratio
    predicted: float
    allowed: Budget
    tried: tuple[tuple[float, float], ...] = ()


def meet(problem: Problem, budget: Budget, allocate: Allocate, progress: Progress = no_progress) -> Timed:
    """The plan that is allocated within the largest limit, among those measured whose time meets the budget.

    Raises BudgetError, with the shortest time that was measured, if no plan meets the budget.
    """
    (limit,) = budget.measured
    wanted = limit.limit / limit.dense
    least = least_cost(problem.tables, limit) / limit.dense
    allowance = max(wanted, least)
    seen: dict[object, Timed] = {}
    for attempt in range(TRIES):
        progress(f"times of plans {budget.name}", attempt, TRIES)
        choice = allocate(allowed := budget.allowing(limit.metric, allowance))
        plan = problem.plan(choice)
        while plan.key in seen and allowance < 1 and seen[plan.key].ratio.median <= wanted:
            allowance = min(1.0, allowance * STEP)  # a little more than what is known to be fast enough
            choice = allocate(allowed := budget.allowing(limit.metric, allowance))
            plan = problem.plan(choice)
        if plan.key in seen:
            break
        found = Timed(choice, ratio_of(problem, plan), plan.cost.of(limit.metric) / limit.dense, allowed)
        seen[plan.key] = found
        log.info("%s: predicted %.3f, measured %.3f", budget.name, found.predicted, found.ratio.median)
        if CLOSE * wanted <= found.ratio.median <= wanted:
            break
        allowance = min(max(_next(seen.values(), AIM * wanted), least), 1.0)
        if all(one.ratio.median > wanted for one in seen.values()):
            tightest = min(one.predicted for one in seen.values())
            allowance = allowance if allowance < tightest else max(least, DOWN * tightest)
    progress(f"times of plans {budget.name}", TRIES, TRIES)
    meeting = [found for found in seen.values() if found.ratio.median <= wanted]
    if not meeting:
        fastest = min(found.ratio.median for found in seen.values())
        got = f"{budget.name}; the fastest of the plans measured takes {fastest:.3f} of the dense time"
        way_out = "Raise the budget, allow smaller ranks or more decompositions, or choose another runtime."
        raise BudgetError(expected("budget", "one that a measured plan meets", got, way_out))
    best = max(meeting, key=lambda found: found.predicted)
    return replace(best, tried=tuple((found.predicted, found.ratio.median) for found in seen.values()))


def ratio_of(problem: Problem, plan: Plan) -> Ratio:
    """The time of a plan over the dense model's, measured."""
    assert problem.timer is not None
    return problem.timer.ratio(chains_of(problem.layers, plan))


def with_time(found: Evaluated, budget: Budget, ratio: Ratio, predicted: float) -> Evaluated:
    """An evaluation of a plan that was measured and meets the budget: its cost is what was measured."""
    (limit,) = budget.measured
    measured = round(ratio.median * limit.dense)
    amounts = found.plan.cost.amounts | {limit.metric: min(measured, limit.limit)}
    scores = {
        "time": ratio.median,
        "time_low": ratio.low,
        "time_high": ratio.high,
        "time_predicted": predicted,
    }
    plan = replace(found.plan, cost=Cost(**amounts))
    return replace(found, plan=plan, budget=budget, scores={**found.scores, **scores})


def first_that_meets(
    problem: Problem, budget: Budget, ranked: Sequence[Evaluated], timed: Timed
) -> Evaluated:
    """The first plan of a ranking whose measured time meets the budget; `timed`, which does, is one of them.

    At most `TRIES` plans are measured for it.
    """
    (limit,) = budget.measured
    met = problem.plan(timed.choice).key
    kept = [found for k, found in enumerate(ranked) if k < TRIES or found.plan.key == met]
    for found in kept:
        ratio = timed.ratio if found.plan.key == met else ratio_of(problem, found.plan)
        if ratio.median * limit.dense <= limit.limit:
            return with_time(found, budget, ratio, found.plan.cost.of(limit.metric) / limit.dense)
    raise AssertionError("the plan that was measured first meets the budget")


def _next(seen: Iterable[Timed], wanted: float) -> float:
    """The prediction at which a plan is expected to take the wanted share of the dense time."""
    return interpolated(((found.ratio.median, found.predicted) for found in seen), wanted)
