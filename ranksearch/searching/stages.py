"""A search from the analytic plan to the winner, for one budget or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from optuna.storages import BaseStorage

from ranksearch.calibration import task_digest
from ranksearch.costs import Budget, Cost
from ranksearch.errors import InputError, expected
from ranksearch.objectives import Scoring, make_objective
from ranksearch.planning import Plan, Problem
from ranksearch.progress import Progress, no_progress
from ranksearch.searching.allocate import allocate
from ranksearch.searching.front import Evaluated, merged
from ranksearch.searching.job import PLAIN, Job, ranking
from ranksearch.searching.scan import scan
from ranksearch.searching.settings import SearchSettings
from ranksearch.searching.studies import open_storage, quiet_optuna
from ranksearch.searching.timed import measured_limits, meet
from ranksearch.searching.tune import shortlist, tune


@dataclass(frozen=True)
class SearchResult:
    """The best plan for one budget, where it came from, its scores, and every evaluation on the way.

    `scores` are those of `Evaluated`, of all stages.
    """

    budget: Budget
    plan: Plan
    origin: str
    scores: Mapping[str, float]
    records: tuple[Evaluated, ...]


def search(
    problem: Problem,
    settings: SearchSettings,
    *,
    storage: BaseStorage | None = None,
    progress: Progress = no_progress,
) -> list[SearchResult]:
    """One search per budget, in the order given; all budgets are checked before the first begins.

    `storage` replaces the one that the settings name. A search that was interrupted or killed
    continues from the state in the storage. Raises BudgetError if a budget cannot be met, and MismatchError if the
    storage has studies of that name for something else.
    """
    if not problem.tables:
        raise InputError(expected("model", "at least one layer that can be factorised", "none"))
    trains = settings.finetune_trials or settings.objective == "finetune"
    if settings.searches and trains and problem.task.dataset("finetune") is None:
        way_out = "Use `finetune_trials=0`, and another objective than finetune."
        raise InputError(expected("fine-tuning data", "training images for it", "none", way_out))
    remembers = settings.searches or settings.allocator != "knapsack" or bool(problem.layer_weights.prior)
    if storage is None:
        storage = open_storage(settings.storage if remembers else None)
    told = task_digest(problem.task) if remembers else ""
    jobs = [
        Job(problem, settings, budget, storage, progress, told)
        for budget in settings.budgets_of(problem.dense)
    ]
    for job in jobs:
        if not measured_limits(job.budget):  # the prediction of a time does not tell yet
            _ = job.baselines  # raises if the budget cannot be met
    scoring = Scoring(problem, settings.finetune_steps, settings.finetune_lr, settings.seed)
    with quiet_optuna():
        return [search_budget(job, scoring) for job in jobs]


def search_budget(job: Job, scoring: Scoring) -> SearchResult:
    """The stages for one budget: analytic plan, many plans by divergence, short fine-tunes of the best.

    Without fine-tunes the best are compared as they would be delivered, because the quick fits of trials are too
    optimistic. Without trials the analytic plan is the result, unless it uses a prior: then it is compared in the same
    way with the plain one. With an allocator other than the knapsack there are no stages: its plan is the result.
    """
    settings = job.settings
    if settings.allocator != "knapsack":
        records, best = allocate(job, make_objective(settings.objective, scoring))
        return replace(_result(job, records, best), origin=best.origin)
    if measured_limits(job.budget):
        return _timed(job)
    if settings.searches:
        records = scan(job, make_objective(settings.objective, scoring))
        best = ranking(records, settings.objective)[0]
        tunes = settings.finetune_trials > 0
        stage = "finetune" if tunes else "refitted"
        count = settings.finetune_trials if tunes else settings.refit_trials
        rivals = shortlist(job, records, count) if stage != settings.objective else []
    else:
        records = list(_unscored(job))
        best, stage = records[0], "refitted"
        plain = [found for found in records if found.origin == PLAIN and found.plan.key != best.plan.key]
        rivals = [best, *plain] if plain and settings.refit_trials else []
    if rivals:
        tuned = tune(job, make_objective(stage, scoring), rivals)
        records += tuned
        best = ranking(tuned, stage)[0]
    return _result(job, records, best)


def _timed(job: Job) -> SearchResult:
    """The analytic plan whose measured time meets the budget; its cost is what was measured."""
    found = meet(job.problem, job.budget, job.progress)
    (limit,) = measured_limits(job.budget)
    plan = job.problem.plan(found.choice)
    measured = round(found.ratio.median * limit.dense)
    amounts = plan.cost.amounts | {limit.metric: min(measured, limit.limit)}
    scores = {
        "error": plan.error,
        "time": found.ratio.median,
        "time_low": found.ratio.low,
        "time_high": found.ratio.high,
        "time_predicted": found.predicted,
    }
    own = replace(plan, cost=Cost(**amounts))
    best = Evaluated(own, job.budget, "analytic", "reconstruction", scores)
    return _result(job, [best], best)


def _unscored(job: Job) -> Iterator[Evaluated]:
    """The plans that need no search, the analytic one first, by the sum of their errors alone."""
    for name, choice in job.baselines.items():
        plan = job.problem.plan(choice)
        yield Evaluated(plan, job.budget, name, "reconstruction", {"error": plan.error})


def _result(job: Job, records: list[Evaluated], best: Evaluated) -> SearchResult:
    whole = next(found for found in merged(records) if found.plan.key == best.plan.key)
    return SearchResult(job.budget, best.plan, whole.origin, whole.scores, tuple(records))
