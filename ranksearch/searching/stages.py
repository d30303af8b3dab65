"""A search from the analytic plan to the winner, for one budget or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from optuna.storages import BaseStorage

from ranksearch.calibration import task_digest
from ranksearch.costs import Budget
from ranksearch.errors import InputError, expected
from ranksearch.glance import AtAGlance
from ranksearch.objectives import Scoring, make_objective
from ranksearch.planning import Plan, Problem, Tables, analytic, saying_what_holds
from ranksearch.progress import Progress, no_progress
from ranksearch.searching.allocate import allocate
from ranksearch.searching.better_state import by_better_state
from ranksearch.searching.front import Evaluated, merged
from ranksearch.searching.job import PLAIN, Job, offered_to
from ranksearch.searching.outlook import draw_outlook, outlook
from ranksearch.searching.scan import scan
from ranksearch.searching.settings import SearchSettings
from ranksearch.searching.studies import Board, open_storage, quiet_optuna
from ranksearch.searching.timed import first_that_meets, meet
from ranksearch.searching.timings import Timings
from ranksearch.searching.tune import shortlist, tune


@dataclass(frozen=True, repr=False)
class SearchResult(AtAGlance):
    """The best plan for one budget, where it came from, its scores, and every evaluation on the way.

    `scores` are those of `Evaluated`, of all stages. `tables` is what the plan was chosen from, and `multiples` what
    its ranks had best be multiples of. `importances` has the share of each parameter of the search space in what made
    trials good, the largest first; empty without enough trials.
    """

    budget: Budget
    plan: Plan
    origin: str
    scores: Mapping[str, float]
    records: tuple[Evaluated, ...]
    tables: Tables | None = field(default=None, repr=False, compare=False)
    multiples: tuple[int, ...] = field(default=(), repr=False, compare=False)
    importances: Mapping[str, float] = field(default_factory=dict)

    def front(self) -> list[dict[str, float]]:
        """The front over all budgets by rising cost, for `pandas.DataFrame`: of each plan `budget`, the fraction that
        it keeps in the budget's cost metric, its costs, and `error`, the sum of ε."""
        return outlook(self._tables, self.budget.metric)

    def plot(self) -> Any:
        """The front over all budgets with this plan on it, as a matplotlib figure."""
        return draw_outlook(self._tables, self.budget, self.plan)

    @property
    def _tables(self) -> Tables:
        if self.tables is None:
            raise InputError(expected("result", "the result of `ranksearch.search`", "one without tables"))
        return self.tables

    def glance(self) -> dict[str, str]:
        scores = ", ".join(f"{name} {value:.4g}" for name, value in self.scores.items())
        return {
            "budget": f"{self.budget.name}: {self.budget}",
            "origin": f"{self.origin}, best of {len({found.plan.key for found in self.records}) or 1}",
            **self.plan.glance(),
            "scores": scores,
        }


def search(
    problem: Problem,
    settings: SearchSettings,
    *,
    storage: BaseStorage | None = None,
    progress: Progress = no_progress,
    board: Board | None = None,
) -> list[SearchResult]:
    """One search per budget, in the order given; all budgets are checked before the first begins.

    `storage` replaces the one that the settings name. `board` is where other processes find trials to run, see
    `shared`. A search that was interrupted or killed continues from the state in the storage. Raises BudgetError if a
    budget cannot be met, and MismatchError if the storage has studies of that name for something else.
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
    jobs, timings = [], Timings()
    for budget in settings.budgets_of(problem.dense, problem.part):
        with saying_what_holds(problem, budget, problem.task.model):
            offered = offered_to(problem, settings, budget)
            job = Job(offered, settings, budget, storage, progress, told, board=board, timings=timings)
            if not budget.measured:  # the prediction of a time does not tell yet
                _ = job.baselines  # raises if the budget cannot be met
        jobs.append(job)
    scoring = Scoring(problem, settings.finetune_steps, settings.finetune_lr, settings.seed)
    with quiet_optuna():
        results = [_leaving(job, scoring) for job in jobs]
    # A further plan is made from all candidates, whatever a budget's plans were limited to.
    tables = timings.known(problem.offered)
    return [replace(found, tables=tables) for found in results]


def _leaving(job: Job, scoring: Scoring) -> SearchResult:
    """The search for one budget, after which its studies are left to other processes."""
    with job.leases:
        return search_budget(job, scoring)


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
    if job.budget.measured:
        return _timed(job, scoring)
    staged = _stages(job, scoring)
    return _result(job, staged.records, staged.ranked[0], staged.importances)


@dataclass(frozen=True)
class _Staged:
    """Every evaluation; those that the last stage ranks, the best first; and the importances of parameters."""

    records: list[Evaluated]
    ranked: list[Evaluated]
    importances: Mapping[str, float] = field(default_factory=dict)


def _stages(job: Job, scoring: Scoring) -> _Staged:
    settings = job.settings
    importances: Mapping[str, float] = {}
    if settings.searches:
        scanned = scan(job, make_objective(settings.objective, scoring))
        records, importances = scanned.records, scanned.importances
        ranked = by_better_state(records, settings.objective, job.budget)
        tunes = settings.finetune_trials > 0
        stage = "finetune" if tunes else "refitted"
        count = settings.finetune_trials if tunes else settings.refit_trials
        rivals = shortlist(job, records, count) if stage != settings.objective else []
    else:
        records = list(_unscored(job))
        ranked, stage = records[:1], "refitted"
        plain = [found for found in records if found.origin == PLAIN and found.plan.key != ranked[0].plan.key]
        rivals = [*ranked, *plain] if plain and settings.refit_trials else []
    if rivals:
        tuned = tune(job, make_objective(stage, scoring), rivals)
        records += tuned
        ranked = by_better_state(tuned, stage, job.budget)
    return _Staged(records, ranked, importances)


def _timed(job: Job, scoring: Scoring) -> SearchResult:
    """The stages for a budget of time.

    The analytic plan is measured first. Other plans then have to keep to what was predicted for it, and the best that
    meets the budget when it is measured, too, is the result.
    """
    problem, budget = job.problem, job.budget
    timed = meet(problem, budget, lambda own, most: analytic(own.tables, most), job.timings, job.progress)
    if job.settings.searches or problem.layer_weights.prior:
        staged = _stages(replace(job, budget=timed.allowed, found=timed.choice), scoring)
    else:
        plan = timed.plan
        alone = [Evaluated(plan, timed.allowed, "analytic", "reconstruction", {"error": plan.error})]
        staged = _Staged(alone, alone)
    best = first_that_meets(problem, budget, staged.ranked, timed, job.timings)
    own = [
        best if found.plan.key == best.plan.key else replace(found, budget=budget) for found in staged.records
    ]
    return _result(job, own, best, staged.importances)


def _unscored(job: Job) -> Iterator[Evaluated]:
    """The plans that need no search, the analytic one first, by the sum of their errors alone."""
    for name, choice in job.baselines.items():
        plan = job.problem.plan(choice)
        yield Evaluated(plan, job.budget, name, "reconstruction", {"error": plan.error})


def _result(
    job: Job, records: list[Evaluated], best: Evaluated, importances: Mapping[str, float] | None = None
) -> SearchResult:
    whole = next(found for found in merged(records) if found.plan.key == best.plan.key)
    return SearchResult(
        job.budget,
        best.plan,
        whole.origin,
        whole.scores,
        tuple(records),
        job.problem.offered,
        job.settings.multiples,
        importances or {},
    )
