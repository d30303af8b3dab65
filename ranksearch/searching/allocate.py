"""Instead of a search: the plan of a named allocator, in addition to the plans that need no search."""

from __future__ import annotations

from typing import Any

from optuna.pruners import NopPruner

from ranksearch.cache import digest
from ranksearch.objectives import Objective
from ranksearch.planning import Choice
from ranksearch.searching.baselines import ALLOCATORS, Context, Evaluations
from ranksearch.searching.front import Evaluated
from ranksearch.searching.job import Job, are_numbers, storable_scores, strange, trained_with
from ranksearch.searching.studies import restored, storable


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
    choices = {**job.baselines, settings.allocator: ALLOCATORS.get(settings.allocator).allocate(context)}
    records = []
    for name, choice in choices.items():
        plan, found = problem.plan(choice), score_of(choice)
        if name == settings.allocator:
            found["evaluations"] = context.evaluate.used
        records.append(Evaluated(plan, job.budget, name, objective.name, {"error": plan.error} | found))
    return records, next(record for record in records if record.origin == settings.allocator)
