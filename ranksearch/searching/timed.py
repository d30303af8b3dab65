"""Budgets of time: plans are measured, and the allocation repeated, until the measured time meets the budget.

Times of parts do not add up exactly to that of a network. So the allocation gets another limit than the budget, found
by the secant method from the plans that were measured, and its times are corrected by what candidates took in them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ranksearch.costs import Budget, Cost
from ranksearch.errors import BudgetError, expected
from ranksearch.planning import Choice, Plan, Problem, balanced_errors, chains_of, least_cost
from ranksearch.progress import Progress, no_progress
from ranksearch.searching.front import Evaluated
from ranksearch.searching.timings import Timings
from ranksearch.timing import AIM, Ratio, interpolated

log = logging.getLogger(__name__)

WAYS = ((0.0, 8), (0.5, 4))
"""How much FLOPs count in what candidates are said to take, and how many plans are then measured at most: first by the
measured times alone, then also by half their FLOPs, which are no times, but free of noise."""

TRIES = sum(count for _, count in WAYS)
"""Plans that are measured for a budget at most."""

LOWER = 0.985
"""By how much the aim falls after a plan that was too slow, since what is picked next is likely to be slower than
predicted, too; it rises as much after one that was fast enough."""

STEP = 1.01
"""By how much the limit rises, or falls, where a plan comes again that was fast enough, or was not."""

DOWN = 0.94
"""By how much the limit falls below the smallest one where no plan was fast enough, and the times that were measured
do not fall with it."""


Allocate = Callable[[Problem, Budget], Choice]
"""Picks a plan of a problem within a budget, by predicted time."""


@dataclass(frozen=True)
class Timed:
    """A plan that was measured.

    ratio: its time over the dense model's. predicted: what was predicted of that before. error: the sum of its balanced
    errors. allowed: the budget that it is just within by the times of the problem's own tables.
    """

    choice: Choice
    plan: Plan
    ratio: Ratio
    predicted: float
    error: float
    allowed: Budget


def meet(
    problem: Problem, budget: Budget, allocate: Allocate, timings: Timings, progress: Progress = no_progress
) -> Timed:
    """Of the plans that were measured and meet the budget the one with the smallest errors.

    Raises BudgetError, with the shortest time that was measured, if no plan meets the budget.
    """
    (limit,) = budget.measured
    wanted = limit.limit / limit.dense
    errors = balanced_errors(problem.tables)
    seen: dict[object, Timed] = {}
    best: Timed | None = None
    aim = AIM * wanted

    def fast_enough(choice: Choice) -> bool | None:
        known = seen.get(problem.plan(choice).key)
        return None if known is None else known.ratio.median <= wanted

    for flops, tries in WAYS:
        for _ in range(tries):
            progress(f"times of plans {budget.name}", len(seen), TRIES)
            priced = timings.priced(problem, flops)
            least = least_cost(priced.tables, limit) / limit.dense

            def within(share: float, priced: Problem = priced) -> Choice:
                return allocate(priced, budget.allowing(limit.metric, share))

            start = wanted
            if timings.plans:
                slow = [] if best is not None else [found.plan for found in seen.values()]
                start = _start(problem, timings, flops, aim, slow)
            choice = _unseen(within, fast_enough, max(start, least), least)
            if choice is None:
                break
            plan = problem.plan(choice)
            predicted = timings.predicted(problem, plan)
            ratio = timings.measure(problem, plan)
            log.info("%s: predicted %.3f, measured %.3f", budget.name, predicted, ratio.median)
            error = sum(float(own[k]) for own, k in zip(errors, choice, strict=True))
            allowed = budget.allowing(limit.metric, plan.cost.of(limit.metric) / limit.dense)
            found = seen[plan.key] = Timed(choice, plan, ratio, predicted, error, allowed)
            if ratio.median > wanted:
                aim *= LOWER
            else:
                aim = min(aim / LOWER, AIM * wanted)
                best = found if best is None or error < best.error else best
    progress(f"times of plans {budget.name}", TRIES, TRIES)
    if best is None:
        fastest = min(found.ratio.median for found in seen.values())
        got = f"{budget.name}; the fastest of the plans measured takes {fastest:.3f} of the dense time"
        way_out = "Raise the budget, allow smaller ranks or more decompositions, or choose another runtime."
        raise BudgetError(expected("budget", "one that a measured plan meets", got, way_out))
    return best


def _start(problem: Problem, timings: Timings, flops: float, aim: float, slow: Sequence[Plan]) -> float:
    """The predicted share of the dense model's time at which a plan is expected to take the share `aim`.

    slow: plans that were too slow, where no other was measured.
    """
    pairs = [(ratio.median, timings.predicted(problem, plan, flops)) for plan, ratio in timings.plans]
    share = min(interpolated(pairs, aim), 1.0)
    if slow and share >= (tightest := min(timings.predicted(problem, plan, flops) for plan in slow)):
        return DOWN * tightest
    return share


def _unseen(
    within: Callable[[float], Choice],
    fast_enough: Callable[[Choice], bool | None],
    start: float,
    least: float,
) -> Choice | None:
    """The choice that was not measured within a share of the time near `start`; None where all were measured between
    one that was fast enough and one that was not.

    fast_enough: None for a choice that was not measured.
    """
    share, before = start, None
    while (fast := fast_enough(choice := within(share))) is not None:
        if before not in (None, fast) or share == (1.0 if fast else least):
            return None
        before = fast
        share = min(1.0, share * STEP) if fast else max(least, share / STEP)
    return choice


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
    problem: Problem, budget: Budget, ranked: Sequence[Evaluated], timed: Timed, timings: Timings
) -> Evaluated:
    """The first plan of a ranking whose measured time meets the budget; `timed`, which does, is one of them.

    At most `TRIES` plans are measured for it.
    """
    (limit,) = budget.measured
    met = timed.plan.key
    kept = [found for k, found in enumerate(ranked) if k < TRIES or found.plan.key == met]
    for found in kept:
        if found.plan.key == met:
            return with_time(found, budget, timed.ratio, timed.predicted)
        predicted, ratio = timings.predicted(problem, found.plan), ratio_of(problem, found.plan)
        if ratio.median * limit.dense <= limit.limit:
            return with_time(found, budget, ratio, predicted)
    raise AssertionError("the plan that was measured first meets the budget")
