"""Budgets of time: the plan's time is measured, and the allocation repeated until the measured time meets the budget.

Times of parts do not add up exactly to that of a network. So the allocation gets another limit than the budget, found
by the secant method from the plans that were measured.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from ranksearch.cache import Cache, digest
from ranksearch.costs import COSTS, Budget
from ranksearch.errors import BudgetError, expected
from ranksearch.planning import Choice, Plan, Problem, analytic, chain_of, least_cost
from ranksearch.progress import Progress, no_progress
from ranksearch.timing import Chains, Ratio

log = logging.getLogger(__name__)

TRIES = 8
"""Plans that are measured for a budget at most."""

CLOSE = 0.97
"""A plan that takes at least this much of what it may take is not improved any further."""

STEP = 1.01
"""By how much the limit rises where the same plan comes again."""

AIM = 0.99
"""What a next plan is to take of what it may take."""


@dataclass(frozen=True)
class Timed:
    """A measured plan: its candidates, its time over the dense model's, and what was predicted of that."""

    choice: Choice
    ratio: Ratio
    predicted: float


def measured_limits(budget: Budget) -> list[Budget]:
    """Those limits of a budget that are about what is measured."""
    return [each for each in budget.every if (metric := COSTS.find(each.metric)) and metric.measured]


def meet(problem: Problem, budget: Budget, progress: Progress = no_progress) -> Timed:
    """The plan with the least sum of errors, among those measured, whose time meets the budget.

    What was found before on this machine for the same candidates is taken from the cache. Raises BudgetError, with the
    shortest time that was measured, if no plan meets the budget.
    """
    timer = problem.timer
    assert timer is not None
    candidates = [[(str(c), c.cost, c.error) for c in table.candidates] for table in problem.tables]
    key = digest("meet", timer.key, candidates, [table.weight for table in problem.tables], budget.every)
    cache = Cache(problem.task.cache)
    if (entry := cache.get(key)) is not None:
        return _read(entry[1])
    found = _search(problem, budget, progress)
    cache.put(key, {}, {"choice": found.choice, "ratio": vars(found.ratio), "predicted": found.predicted})
    return found


def _read(plain: Any) -> Timed:
    return Timed(tuple(plain["choice"]), Ratio(**plain["ratio"]), plain["predicted"])


def _search(problem: Problem, budget: Budget, progress: Progress) -> Timed:
    assert problem.timer is not None
    (limit,) = measured_limits(budget)
    wanted = limit.limit / limit.dense
    least = least_cost(problem.tables, limit) / limit.dense
    allowance = max(wanted, least)
    seen: dict[object, Timed] = {}
    for attempt in range(TRIES):
        progress(f"times of plans {budget.name}", attempt, TRIES)
        choice = analytic(problem.tables, _allowing(budget, limit, allowance))
        plan = problem.plan(choice)
        while plan.key in seen and allowance < 1 and seen[plan.key].ratio.median <= wanted:
            allowance = min(1.0, allowance * STEP)  # a little more than what is known to be fast enough
            choice = analytic(problem.tables, _allowing(budget, limit, allowance))
            plan = problem.plan(choice)
        if plan.key in seen:
            break
        ratio = problem.timer.ratio(chains_of(problem, plan))
        found = Timed(choice, ratio, plan.cost.of(limit.metric) / limit.dense)
        seen[plan.key] = found
        log.info("%s: predicted %.3f, measured %.3f", budget.name, found.predicted, ratio.median)
        if CLOSE * wanted <= ratio.median <= wanted:
            break
        allowance = min(max(_next([*seen.values()], AIM * wanted), least), 1.0)
    progress(f"times of plans {budget.name}", TRIES, TRIES)
    meeting = [found for found in seen.values() if found.ratio.median <= wanted]
    if not meeting:
        fastest = min(found.ratio.median for found in seen.values())
        got = f"{budget.name}; the fastest of the plans measured takes {fastest:.3f} of the dense time"
        way_out = "Raise the budget, allow smaller ranks or more decompositions, or choose another runtime."
        raise BudgetError(expected("budget", "one that a measured plan meets", got, way_out))
    return min(meeting, key=lambda found: problem.plan(found.choice).error)


def _next(seen: list[Timed], wanted: float) -> float:
    """The prediction at which a plan is expected to take the wanted share of the dense time."""
    below = max((x for x in seen if x.ratio.median <= wanted), key=lambda x: x.ratio.median, default=None)
    above = min((x for x in seen if x.ratio.median > wanted), key=lambda x: x.ratio.median, default=None)
    if below is not None and above is not None and above.predicted > below.predicted:
        share = (wanted - below.ratio.median) / (above.ratio.median - below.ratio.median)
        return below.predicted + share * (above.predicted - below.predicted)
    # At the dense model prediction and measurement agree: along the line from there through the nearest plan.
    nearest = min(seen, key=lambda x: abs(x.ratio.median - wanted))
    slope = (1 - nearest.predicted) / max(1 - nearest.ratio.median, 1e-3)
    return 1 - (1 - wanted) * slope


def chains_of(problem: Problem, plan: Plan) -> Chains:
    """The chains of a plan by layer name."""
    layers = {layer.name: layer for layer in problem.layers}
    chosen = {name: found for name, found in plan.choices.items() if not found.is_dense}
    return {name: chain_of(layers[name], candidate) for name, candidate in chosen.items()}


def _allowing(budget: Budget, limit: Budget, fraction: float) -> Budget:
    """The budget with another limit on what is measured."""
    changed = max(1, ceil(fraction * limit.dense))
    if budget.metric == limit.metric:
        return replace(budget, limit=changed)
    others = (replace(x, limit=changed) if x.metric == limit.metric else x for x in budget.also)
    return replace(budget, also=tuple(others))
