"""What a search leaves in the run folder: tables.json, trials.csv, front.json and a plan file per budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranksearch.planning import (
    PlanRecord,
    Problem,
    TablesRecord,
    make_record,
    model_record,
    record_of_tables,
    write_plan,
    write_tables,
)
from ranksearch.progress import Reporter
from ranksearch.runs.options import RunOptions
from ranksearch.runs.run_folder import RunFolder
from ranksearch.runs.settings import recorded
from ranksearch.searching import (
    SearchResult,
    describe_correlation,
    front_record,
    write_front,
    write_trials,
)
from ranksearch.tasks import metric_name
from ranksearch.timing import RUNTIMES


def record_tables(
    problem: Problem, results: Sequence[SearchResult], options: RunOptions, folder: RunFolder
) -> TablesRecord:
    """Write what further plans are made from, without the model and the data."""
    record = record_of_tables(
        results[0].tables or problem.offered,
        model_record(problem.task.model, problem.task.example, problem.task.model_name),
        task_metric=metric_name(problem.task),
        budget=results[0].budget,
        seed=options.seed,
        options=recorded(options),
    )
    write_tables(folder.tables, record)
    return record


def record_search(
    problem: Problem,
    results: Sequence[SearchResult],
    options: RunOptions,
    folder: RunFolder,
    reporter: Reporter,
    *,
    tell: int = 0,
) -> None:
    """Write trials.csv, front.json and a plan file per budget; say how far the scores can be trusted.

    tell: the first result that is new, of which something is said.
    """
    write_trials(folder.trials, [record for result in results for record in result.records])
    name = problem.task.model_name
    weights = (
        {table.layer.name: table.weight for table in problem.tables} if problem.layer_weights.weighs else {}
    )
    front = front_record(
        results, model=name, metric=results[0].budget.metric, dense=problem.dense, weights=weights
    )
    write_front(folder.front, front)
    for result in results:
        write_plan(folder.plan(result.budget.name), plan_record(problem, result, options, result.scores))
    new = {result.budget.name for result in results[tell:]}
    for found in (each for each in front.rank_correlations if each.asked in new):
        reporter.line(describe_correlation(found))


def plan_record(problem: Problem, result: SearchResult, options: RunOptions, scores: Any) -> PlanRecord:
    """The record of a search's best plan with these scores; its versions tell of the runtime where times count."""
    record = make_record(
        problem.task.model,
        problem.layers,
        result.plan,
        example=problem.task.example,
        dense=problem.dense,
        budget=result.budget,
        seed=options.seed,
        model_name=problem.task.model_name,
        scores=scores,
        options=recorded(options),
    )
    runtime = RUNTIMES.resolve(options.runtime)
    measured = {runtime.name: runtime.version()} if "latency" in record.cost else {}
    return record.model_copy(update={"versions": measured | record.versions})
