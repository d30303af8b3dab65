"""Plans from Python: searches, also with others, and further plans of a search."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import overload

from ranksearch.api.preparing import Preparation
from ranksearch.bars import showing
from ranksearch.costs import Kept
from ranksearch.errors import InputError, expected
from ranksearch.folders import TABLES
from ranksearch.keywords import checks_keywords
from ranksearch.networks import draws_alone
from ranksearch.planning import (
    further_budgets,
    further_plan,
    preferred,
    read_tables,
)
from ranksearch.progress import Progress
from ranksearch.searching import (
    SearchResult,
    SearchSettings,
    shared,
)
from ranksearch.searching import search as search_problem
from ranksearch.searching import work as join_search
from ranksearch.searching.studies import TIMEOUT, Artifacts, open_storage
from ranksearch.tasks import Task
from ranksearch.tracking import Tracking


@overload
def search(  # type: ignore[overload-overlap]  # a text, though a sequence of texts, is one budget
    task: Task,
    budget: float | str,
    *,
    metric: str = ...,
    limits: Mapping[str, float | str] | None = ...,
    budget_of: str | None = ...,
    decompositions: str | Sequence[str] | None = ...,
    min_rank: int = ...,
    rank_multiple: int | str | Mapping[str, int | str] | None = ...,
    runtime: str = ...,
    latency_batch: int = ...,
    ignore: str | Sequence[str] = ...,
    protect_early: int | tuple[int, float] = ...,
    probe: str | Path | None = ...,
    allocator: str = ...,
    n_trials: int | None = ...,
    objective: str = ...,
    space: str = ...,
    sampler: str = ...,
    timeout: float | None = ...,
    refit_trials: int = ...,
    finetune_trials: int = ...,
    finetune_steps: int = ...,
    finetune_lr: float = ...,
    storage: str | None = ...,
    study_name: str = ...,
    artifacts: str | Path | None = ...,
    seed: int = ...,
    progress: Progress | bool | None = ...,
    track: Tracking | None = ...,
) -> SearchResult: ...


@overload
def search(
    task: Task,
    budget: Sequence[float | str],
    *,
    metric: str = ...,
    limits: Mapping[str, float | str] | None = ...,
    budget_of: str | None = ...,
    decompositions: str | Sequence[str] | None = ...,
    min_rank: int = ...,
    rank_multiple: int | str | Mapping[str, int | str] | None = ...,
    runtime: str = ...,
    latency_batch: int = ...,
    ignore: str | Sequence[str] = ...,
    protect_early: int | tuple[int, float] = ...,
    probe: str | Path | None = ...,
    allocator: str = ...,
    n_trials: int | None = ...,
    objective: str = ...,
    space: str = ...,
    sampler: str = ...,
    timeout: float | None = ...,
    refit_trials: int = ...,
    finetune_trials: int = ...,
    finetune_steps: int = ...,
    finetune_lr: float = ...,
    storage: str | None = ...,
    study_name: str = ...,
    artifacts: str | Path | None = ...,
    seed: int = ...,
    progress: Progress | bool | None = ...,
    track: Tracking | None = ...,
) -> list[SearchResult]: ...


@checks_keywords
@draws_alone
def search(
    task: Task,
    budget: float | str | Sequence[float | str],
    *,
    metric: str = "params",
    limits: Mapping[str, float | str] | None = None,
    budget_of: str | None = None,
    decompositions: str | Sequence[str] | None = None,
    min_rank: int = 1,
    rank_multiple: int | str | Mapping[str, int | str] | None = None,
    runtime: str = "torch",
    latency_batch: int = 1,
    ignore: str | Sequence[str] = (),
    protect_early: int | tuple[int, float] = 0,
    probe: str | Path | None = None,
    allocator: str = "knapsack",
    n_trials: int | None = None,
    objective: str = "divergence",
    space: str = "sensitivities",
    sampler: str = "tpe",
    timeout: float | None = None,
    refit_trials: int = 2,
    finetune_trials: int = 4,
    finetune_steps: int = 60,
    finetune_lr: float = 5e-4,
    storage: str | None = None,
    study_name: str = "ranksearch",
    artifacts: str | Path | None = None,
    seed: int = 0,
    progress: Progress | bool | None = True,
    track: Tracking | None = None,
) -> SearchResult | list[SearchResult]:
    """The best plan within a budget; several budgets give a list.

    budget: how much to keep of the model in the cost metric `metric`: a fraction, 0.2, or a text, "20%" or "54k".
    limits: by other cost metrics, what else the plan has to keep to. budget_of: what budget and limits count of the
    model, None for all: "factorisable", "blocks" (the repeated ones of a transformer), or patterns over names of
    layers; those outside stay dense. Cost metrics are params, flops, and what else is
    registered. decompositions: names to choose from, all where None. rank_multiple: what ranks are multiples of, or a
    mapping from layer patterns to that, of which the last match counts; "auto" has it measured. Where None it is 8 or 4
    where that costs next to nothing, else 1; and 8 if latency counts. runtime, latency_batch: what runs the model, and
    on how many examples at once, where the cost metric is `latency`. ignore: patterns of layers that stay dense.
    protect_early: how many of the first layers stay dense, or (how many, what their errors are multiplied by).
    probe: folder of a finished probe of the same model, whose measurements say which layers' errors weigh more.
    allocator: a name of `ranksearch.searching.baselines`, whose plan takes the place of a search. The parameters from
    n_trials to seed are those of `SearchSettings`. artifacts: a folder, or s3://BUCKET/PREFIX, that is shared with
    processes that may join the search by `work`, through the storage; the task needs a `cache`. progress: bars in a
    terminal or a notebook, or a function of your own, called as `progress(stage, done, total, best)`; None or
    False for none. track: what `ranksearch.track` returned, to record the search in TensorBoard or MLflow.

    Raises BudgetError where a budget cannot be met, and InputError for parameters and models that do not fit.
    """
    several = isinstance(budget, Sequence) and not isinstance(budget, str)
    wanted = SearchSettings(
        multiples=preferred(rank_multiple),
        budgets=tuple(map(Kept.parse, budget if several else (budget,))),  # type: ignore[arg-type]
        metric=metric,
        limits=tuple((name, Kept.parse(kept)) for name, kept in (limits or {}).items()),
        budget_of=budget_of,
        allocator=allocator,
        n_trials=n_trials,
        objective=objective,
        space=space,
        sampler=sampler,
        timeout=timeout,
        refit_trials=refit_trials,
        finetune_trials=finetune_trials,
        finetune_steps=finetune_steps,
        finetune_lr=finetune_lr,
        storage=storage,
        study_name=study_name,
        seed=seed,
    )
    how = Preparation(
        decompositions, min_rank, rank_multiple, runtime, latency_batch, ignore, protect_early, probe
    )
    if track is not None:
        track.parameters(_asked(wanted))
    with showing(progress) as shown:
        told = shown if track is None else track.following(shown)
        problem = how.problem(task, wanted, told)
        if artifacts is None:
            results = search_problem(problem, wanted, progress=told)
        else:
            kept = open_storage(storage)
            with shared(problem, wanted, kept, Artifacts.at(artifacts)) as board:
                results = search_problem(problem, wanted, storage=kept, progress=told, board=board)
    if track is not None:
        track.evaluated(results)
    return results if several else results[0]


def _asked(wanted: SearchSettings) -> dict[str, object]:
    """The settings for others to read: a storage can have a password in it."""
    told = {name: value for name, value in vars(wanted).items() if name not in ("storage", "study_name")}
    limits = [f"{name}={kept.name}" for name, kept in wanted.limits]
    return {**told, "budgets": [kept.name for kept in wanted.budgets], "limits": limits}


@checks_keywords
@draws_alone
def work(
    task: Task,
    *,
    storage: str,
    study_name: str = "ranksearch",
    artifacts: str | Path,
    timeout: float = TIMEOUT,
    progress: Progress | bool | None = True,
) -> int:
    """Join a search that another process leads, and run its trials until it has ended; the number of trials.

    task: the same as where the search is led: model, data, loss and splits are compared. storage, study_name,
    artifacts: those of the search. timeout: for how many seconds to wait for a search, for its leader, or for a
    database that is away.

    Raises MismatchError, which names the differences, where task or versions of packages are others, and InputError
    where nobody leads such a search.
    """
    with tempfile.TemporaryDirectory() as folder, showing(progress) as told:
        own = task if task.cache is not None else replace(task, cache=Path(folder))
        kept = open_storage(storage, timeout)
        place = Artifacts.at(artifacts)
        return join_search(own, kept, study_name, artifacts=place, timeout=timeout, progress=told)


@checks_keywords
def plan(
    source: SearchResult | str | Path,
    budget: float | str,
    *,
    metric: str | None = None,
    limits: Mapping[str, float | str] | None = None,
) -> SearchResult:
    """The analytic plan for another budget, in seconds, from what a search has found out already.

    source: the result of a search, or the folder of a finished `ranksearch run`. budget, metric, limits: as for
    `search`; where neither a metric nor limits are given, those of the source hold. A plan within a budget of time is
    not measured: its score `time_predicted` says what it is expected to take.

    Raises BudgetError where the budget cannot be met, and InputError where the source did not count the metric.
    """
    if isinstance(source, SearchResult):
        also = tuple((each.metric, each.kept) for each in source.budget.also)
        tables, of_run, multiples = source.tables, (source.budget.metric, also), source.multiples
        if tables is None:
            raise InputError(expected("source", "the result of `ranksearch.search`", "one without tables"))
    else:
        record = read_tables(Path(source) / TABLES)
        tables, of_run, multiples = record.content(), record.of_run, record.multiples
    asked = None if limits is None else tuple((name, Kept.parse(kept)) for name, kept in limits.items())
    (wanted,) = further_budgets(tables.dense, [Kept.parse(budget)], of_run, metric, asked, tables.part)
    found = further_plan(tables, wanted, multiples)
    return SearchResult(wanted, found.plan, "analytic", found.scores, (), tables, multiples)
