"""Instead of a search: the plan of a named allocator, in addition to the plans that need no search.

Where the budget is a time, the allocator is asked again until the time of its plan, measured, meets the budget.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from optuna.pruners import NopPruner

from ranksearch.cache import digest
from ranksearch.costs import Budget
from ranksearch.objectives import Objective, score_label
from ranksearch.planning import Choice, Problem
from ranksearch.searching.baselines import ALLOCATORS, Context, Evaluations
from ranksearch.searching.front import Evaluated
from ranksearch.searching.job import Job, are_numbers, storable_scores, strange, trained_with
from ranksearch.searching.studies import restored, storable
from ranksearch.searching.timed import meet, with_time

log = logging.getLogger(__name__)


def allocate(job: Job, objective: Objective) -> tuple[list[Evaluated], Evaluated]:
    """Every plan with its score, the analytic one first, including that of the allocator in the settings.

    The allocator's evaluations use the same objective, and no plan is scored twice: scores are stored in the
    attributes of a study, so that a killed allocator finds them when it starts again.
    """
    settings, problem = job.settings, job.problem
    study = job.study(f"allocator-{objective.name}", NopPruner(), **trained_with(objective, settings))
    known: dict[str, Any] = dict(study.user_attrs)
    values: list[float] = []

    def score_of(choice: Choice) -> dict[str, Any]:
        plan = problem.plan(choice)
        attr = f"plan {digest(plan.key)}"
        if attr not in known:
            score = objective.score(plan)
            known[attr] = {objective.name: storable(score.value), **storable_scores(objective.name, score)}
            study.set_user_attr(attr, known[attr])
        elif not are_numbers(known[attr]) or objective.name not in known[attr]:
            raise strange(study, attr, f"{known[attr]!r:.60}")
        values.append(restored(known[attr][objective.name]))
        job.news(objective.name, len(values), len(values), values)
        return {key: restored(value) for key, value in known[attr].items()}

    context = Context(
        problem,
        job.budget,
        Evaluations(lambda choice: float(score_of(choice)[objective.name])),
        settings.seed,
        max(1, settings.trials),
    )

    def chosen(problem: Problem, budget: Budget) -> Choice:
        return ALLOCATORS.get(settings.allocator).allocate(replace(context, problem=problem, budget=budget))

    timed = meet(problem, job.budget, chosen, job.timings, job.progress) if job.budget.measured else None
    choices = {settings.allocator: timed.choice} if timed else dict(job.baselines)
    if timed is None:
        choices[settings.allocator] = chosen(problem, job.budget)
    records = []
    for name, choice in choices.items():
        plan, found = problem.plan(choice), score_of(choice)
        if name == settings.allocator:
            found["evaluations"] = context.evaluate.used
        records.append(Evaluated(plan, job.budget, name, objective.name, {"error": plan.error} | found))
    best = next(record for record in records if record.origin == settings.allocator)
    warn_if_far(records, best, objective.name)
    if timed is not None:
        best = with_time(best, job.budget, timed.ratio, timed.predicted)
        records = [best]
    return records, best


FAR = 3.0
"""Times the score of the analytic plan from which on an allocator's plan is far worse."""


def warn_if_far(records: Sequence[Evaluated], best: Evaluated, score: str) -> None:
    """Warn where the analytic plan of the same candidates is much better than an allocator's."""
    for record in records:
        own, analytic = best.scores[score], record.scores[score]
        if record.origin == "analytic" and own > FAR * analytic:
            log.warning(
                "budget %s: the plan that %s chose has a %s of %.3g, %s the %.3g of the analytic plan. It is delivered "
                "as asked; `allocator=knapsack` takes the analytic plan.",
                best.budget.name,
                best.origin,
                score_label(score),
                own,
                f"{own / analytic:.3g} times" if analytic else "beside",
                analytic,
            )
