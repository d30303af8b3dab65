"""Instead of a search: the plan of a named allocator, beside the plans that need none."""

from __future__ import annotations

from ranksearch.allocation import Choice
from ranksearch.baselines import Context, Evaluations, get_baseline
from ranksearch.front import Evaluated
from ranksearch.objectives import Objective, Score
from ranksearch.searching.job import Job, storable_scores
from ranksearch.searching.trials import restored, storable


def allocate(job: Job, objective: Objective) -> tuple[list[Evaluated], Evaluated]:
    """Every plan with its score, the analytic one first, and among them that of the settings' allocator.

    What the allocator evaluates is scored by the same objective, and no plan is scored twice.
    """
    settings, problem = job.settings, job.problem
    scores: dict[object, Score] = {}

    def score_of(choice: Choice) -> Score:
        plan = problem.plan(choice)
        if plan.key not in scores:
            scores[plan.key] = objective.score(plan)
            job.news(objective.name, len(scores), len(scores), (s.value for s in scores.values()))
        return scores[plan.key]

    context = Context(
        problem,
        job.limit,
        settings.metric,
        Evaluations(lambda choice: score_of(choice).value),
        settings.seed,
        max(1, settings.trials),
    )
    choices = {**job.baselines, settings.allocator: get_baseline(settings.allocator).allocate(context)}
    records = []
    for name, choice in choices.items():
        score, plan = score_of(choice), problem.plan(choice)
        found = {objective.name: storable(score.value), **storable_scores(objective.name, score)}
        if name == settings.allocator:
            found["evaluations"] = context.evaluate.used
        kept = {key: restored(value) for key, value in found.items()}
        records.append(Evaluated(plan, job.budget, name, objective.name, {"error": plan.error} | kept))
    return records, next(record for record in records if record.origin == settings.allocator)
