"""A run from its options to the compressed models: task → problem → search → plan files → delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ranksearch.advice import Advice
from ranksearch.compression import check_stages
from ranksearch.costs import Cost
from ranksearch.delivery import Delivered, carry_out, deliver, shared_moments
from ranksearch.describing import (
    Reporter,
    describe_budgets,
    describe_dense,
    describe_layers,
    describe_task,
    metric_name,
)
from ranksearch.evaluate import Estimate, evaluate
from ranksearch.layers import discover
from ranksearch.options import RunOptions
from ranksearch.planfile import check_plan, make_record, to_plan, write_plan
from ranksearch.planrecord import PlanRecord
from ranksearch.problem import Problem, prepare
from ranksearch.report import describe_validity, front_record, write_front, write_trials
from ranksearch.runfolder import RunFolder
from ranksearch.searching import SearchResult, search
from ranksearch.settings import (
    candidate_config,
    compress_config,
    early_advice,
    recorded,
    search_settings,
    torch_threads,
)
from ranksearch.sources.tasks import build_task_and_data
from ranksearch.task import Task
from ranksearch.weights import PLAN_FILE


@dataclass(frozen=True)
class RunReport:
    """What a run came to; `validation` and `test` are the dense model's metric, None without data."""

    dense: Cost
    metric_name: str
    validation: Estimate | None
    test: Estimate | None
    delivered: tuple[Delivered, ...]


def run_pipeline(options: RunOptions, folder: RunFolder, reporter: Reporter) -> RunReport:
    """Carry out a run in its folder; what is there already, of a run that was killed, is not done again."""
    with torch_threads(options):
        settings = search_settings(options, folder)
        config, advice = candidate_config(options), early_advice(options)
        advice.check(settings.allocator)
        training = compress_config(options)  # raises early what would end the run late
        task, data = build_task_and_data(options)
        check_stages(task, training)
        folder.write_splits(task.splits.to_dict() | {"test": data.test_split})
        describe_budgets(describe_task(task, reporter), settings, reporter)
        advice = with_prior(advice, task, options, reporter)
        validation = describe_dense(task, reporter)
        problem = prepare(
            task,
            ignore=options.ignore,
            config=config,
            advice=advice,
            seed=options.seed,
            progress=reporter.progress,
        )
        describe_layers(problem, reporter)
        results = search(problem, settings, progress=reporter.progress)
        record_search(problem, results, options, folder, reporter)
        delivered = deliver(task, options, folder, reporter)
        test = evaluate(task.model, task, "test")
        return RunReport(problem.dense, metric_name(task), validation, test, delivered)


def compress_pipeline(record: PlanRecord, options: RunOptions, out: Path, reporter: Reporter) -> RunReport:
    """Carry out a plan on the model that the options name, and save it in `out`."""
    with torch_threads(options):
        training = compress_config(options)
        candidate_config(options)  # registers the user's own decompositions
        task, _ = build_task_and_data(options)
        check_stages(task, training)
        check_plan(record, discover(task.model, task.example, ignore=options.ignore), task.model)
        dense = describe_task(task, reporter)
        validation = describe_dense(task, reporter)
        moments = shared_moments(task, [to_plan(record)], options, reporter)
        found = carry_out(task, record, options, out, reporter, moments)
        test = evaluate(task.model, task, "test")
        return RunReport(
            dense, metric_name(task), validation, test, (Delivered(found, out, out / PLAN_FILE),)
        )


def with_prior(advice: Advice, task: Task, options: RunOptions, reporter: Reporter) -> Advice:
    """The advice, and the prior of a probe where the options name one."""
    if options.probe is None:
        return advice
    from ranksearch.probing.prior import (
        describe_prior,
        read_prior,
    )  # what it reads with takes a second to import

    prior = read_prior(options.probe, task.model, discover(task.model, task.example, ignore=options.ignore))
    reporter.line(f"prior: {describe_prior(prior)}")
    found = replace(advice, prior=prior)
    found.check(options.allocator)
    return found


def record_search(
    problem: Problem,
    results: Sequence[SearchResult],
    options: RunOptions,
    folder: RunFolder,
    reporter: Reporter,
) -> None:
    """Write trials.csv, front.json and a plan file per budget; say how far the scores can be trusted."""
    write_trials(folder.trials, [record for result in results for record in result.records])
    name = problem.task.model_name
    weights = {table.layer.name: table.weight for table in problem.tables} if problem.advice.weighs else {}
    front = front_record(results, model=name, metric=options.metric, dense=problem.dense, weights=weights)
    write_front(folder.front, front)
    for result in results:
        write_plan(folder.plan(result.budget), plan_record(problem, result, options, result.scores))
    for found in front.validity:
        reporter.line(describe_validity(found))


def plan_record(problem: Problem, result: SearchResult, options: RunOptions, scores: Any) -> PlanRecord:
    """The record of a search's best plan with these scores."""
    return make_record(
        problem.task.model,
        problem.layers,
        result.plan,
        example=problem.task.example,
        dense=problem.dense,
        budget=result.budget,
        metric=options.metric,
        limit=result.limit,
        seed=options.seed,
        model_name=problem.task.model_name,
        scores=scores,
        options=recorded(options),
    )
