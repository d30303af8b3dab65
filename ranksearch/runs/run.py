"""A run from its options to the compressed models: task → problem → search → plan files → delivery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ranksearch.compression import check_stages
from ranksearch.exporting import exporters
from ranksearch.planning import (
    LayerWeights,
    Network,
    PlanRecord,
    Problem,
    inspect_network,
    make_record,
    prepare,
    write_plan,
)
from ranksearch.progress import Reporter
from ranksearch.runs.deliver import RunReport, deliver
from ranksearch.runs.narrate import (
    describe_budgets,
    describe_dense,
    describe_layers,
    describe_task,
    describe_times,
)
from ranksearch.runs.options import RunOptions
from ranksearch.runs.run_folder import RunFolder, SplitsRecord
from ranksearch.runs.settings import (
    candidate_config,
    compress_config,
    early_weights,
    recorded,
    search_settings,
    timing_settings,
    torch_threads,
)
from ranksearch.runs.tasks import build_task_and_data
from ranksearch.searching import (
    SearchResult,
    describe_correlation,
    front_record,
    search,
    write_front,
    write_trials,
)
from ranksearch.searching.baselines import ALLOCATORS, check_weights
from ranksearch.tasks import Task, evaluate, metric_name


def run_pipeline(options: RunOptions, folder: RunFolder, reporter: Reporter) -> RunReport:
    """Carry out a run in its folder; what is there already, of a run that was killed, is not done again."""
    with torch_threads(options):
        settings = search_settings(options, folder)
        config, layer_weights = candidate_config(options), early_weights(options)
        check_weights(layer_weights, settings.allocator)
        exporters(options.export)
        training = compress_config(options)  # raises early what would end the run late
        task, data = build_task_and_data(options)
        check_stages(task, training)
        folder.write_splits(SplitsRecord(**task.splits.to_dict(), test=data.test_split))
        network = inspect_network(
            task, ignore=options.ignore, metrics=settings.metrics, timing=timing_settings(options)
        )
        describe_task(task, network.cost, reporter)
        describe_budgets(settings.budgets_of(network.cost), reporter)
        layer_weights = with_prior(layer_weights, task, network, options, reporter)
        validation = describe_dense(task, reporter)
        problem = prepare(
            task,
            network=network,
            config=config,
            layer_weights=layer_weights,
            seed=options.seed,
            progress=reporter.progress,
        )
        describe_layers(problem, reporter)
        results = search(problem, settings, progress=reporter.progress)
        describe_times(results, reporter)
        record_search(problem, results, options, folder, reporter)
        delivered = deliver(task, network, options, folder, reporter)
        test = evaluate(task.model, task, "test")
        return RunReport(problem.dense, metric_name(task), validation, test, delivered)


def with_prior(
    layer_weights: LayerWeights, task: Task, network: Network, options: RunOptions, reporter: Reporter
) -> LayerWeights:
    """The weights of layers, and the prior of a probe where the options name one."""
    if options.probe is None:
        return layer_weights
    from ranksearch.probing import describe_prior, read_prior  # what it reads with takes a second to import

    prior = read_prior(options.probe, task.model, network.layers)
    reporter.line(f"prior: {describe_prior(prior)}")
    found = replace(layer_weights, prior=prior)
    check_weights(found, ALLOCATORS.resolve(options.allocator).name)
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
    weights = (
        {table.layer.name: table.weight for table in problem.tables} if problem.layer_weights.weighs else {}
    )
    front = front_record(
        results, model=name, metric=results[0].budget.metric, dense=problem.dense, weights=weights
    )
    write_front(folder.front, front)
    for result in results:
        write_plan(folder.plan(result.budget.name), plan_record(problem, result, options, result.scores))
    for found in front.rank_correlations:
        reporter.line(describe_correlation(found))


def plan_record(problem: Problem, result: SearchResult, options: RunOptions, scores: Any) -> PlanRecord:
    """The record of a search's best plan with these scores."""
    return make_record(
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
