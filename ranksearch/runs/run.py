"""A run from its options to the compressed models: task → problem → search → plan files → delivery."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ranksearch.compression import check_stages
from ranksearch.planning import LayerWeights, Network, inspect_network, prepare
from ranksearch.progress import Reporter
from ranksearch.runs.accept import check_measurable, judge, parse_criteria
from ranksearch.runs.account import Account
from ranksearch.runs.command import command
from ranksearch.runs.deliver import Delivered, RunReport, deliver, handed_over
from ranksearch.runs.expectation import describe_left, describe_training, expectation
from ranksearch.runs.export import Exports
from ranksearch.runs.front_files import write_whole_front
from ranksearch.runs.measured_record import record_measured
from ranksearch.runs.narrate import (
    describe_budgets,
    describe_dense,
    describe_layers,
    describe_task,
    describe_times,
)
from ranksearch.runs.options import RunOptions
from ranksearch.runs.promise import keep_promise
from ranksearch.runs.quantize import wanted_formats
from ranksearch.runs.record import record_search, record_tables
from ranksearch.runs.run_folder import RunFolder, SplitsRecord
from ranksearch.runs.settings import (
    candidate_config,
    compress_config,
    early_weights,
    search_settings,
    timing_settings,
    torch_threads,
)
from ranksearch.runs.tasks import build_task_and_data
from ranksearch.runs.tracked import Recording, record_options, tracking
from ranksearch.runs.workers import opened_artifacts, opened_storage, workers
from ranksearch.searching import SearchResult, check_max_drop, search
from ranksearch.searching.baselines import ALLOCATORS, check_weights
from ranksearch.tasks import Estimate, Role, Task, metric_name


def run_pipeline(options: RunOptions, folder: RunFolder, reporter: Reporter) -> RunReport:
    """Carry out a run in its folder; what is there already, of a run that was killed, is not done again."""
    with torch_threads(options), tracking(options, folder.path) as track:
        reporter = Recording(reporter, track)
        settings = search_settings(options, folder)
        config, layer_weights = candidate_config(options), early_weights(options)
        check_weights(layer_weights, settings.allocator)
        wanted_formats(options)
        storage, artifacts = opened_storage(options, settings), opened_artifacts(options, folder)
        training = compress_config(options)  # raises early what would end the run late
        criteria = parse_criteria(options)
        task, data = build_task_and_data(options, reporter.line, reporter.progress)
        check_stages(task, training)
        check_measurable(criteria, task)
        if options.max_drop is not None:
            check_max_drop(task, options.max_drop)
        folder.write_splits(SplitsRecord(**task.splits.to_dict(), test=data.test_split))
        record_options(track, options)
        network = inspect_network(
            task,
            ignore=options.ignore,
            metrics=settings.metrics,
            timing=timing_settings(options, folder),
            budget_of=settings.budget_of,
        )
        describe_task(task, network.cost, reporter)
        if options.max_drop is None:
            describe_budgets(settings.budgets_of(network.cost, network.part), reporter)
        layer_weights = with_prior(layer_weights, task, network, options, reporter)
        validation = describe_dense(task, reporter)
        known: dict[Role, Estimate] = {} if validation is None else {"validation": validation}
        account = Account(task, data, options, command("ranksearch run", options), known)
        expected = expectation(task, options)
        describe_training(expected, task, options, reporter)
        begun = time.monotonic()
        problem = prepare(
            task,
            network=network,
            config=config,
            layer_weights=layer_weights,
            seed=options.seed,
            progress=reporter.progress,
        )
        describe_layers(problem, reporter)
        describe_left(expected, task, len(problem.tables), time.monotonic() - begun, reporter)
        results: Sequence[SearchResult]
        if options.max_drop is None:
            with workers(problem, settings, storage, artifacts, options, folder, reporter) as board:
                results = search(problem, settings, storage=storage, progress=reporter.progress, board=board)
            track.evaluated(results)
            describe_times(results, reporter)
            tables = record_tables(problem, results, options, folder)
            record_search(problem, results, options, folder, reporter)
            names = [kept.name for kept in options.budget]
            saved = deliver(task, network, options, folder, reporter, account, budgets=names)
            chosen = saved
        else:
            with workers(problem, settings, storage, artifacts, options, folder, reporter) as board:
                promise = keep_promise(
                    problem, network, settings, options, folder, reporter, account, storage, board
                )
            track.evaluated(promise.results)
            describe_times(promise.results, reporter)
            tables = record_tables(problem, promise.results, options, folder)
            saved, chosen = promise.delivered, (promise.chosen,)
        judged = {each.folder: judge(each, criteria, task, network, options) for each in chosen}
        delivered = tuple(
            handed_over(task, own.record, options, own.folder, folder.plan(own.record.asked))
            if (own := judged.get(each.folder)) is not None
            else Delivered(each.record, each.folder, folder.plan(each.record.asked), Exports(each.folder, ()))
            for each in saved
        )
        for each in delivered:
            track.delivered(each.record)
        record_measured(folder, [each.record for each in saved])
        write_whole_front(tables, tables.content(), tables.metric, folder.path, folder.front_table)
        return RunReport(
            problem.dense,
            metric_name(task),
            validation,
            account.dense.get("test"),
            delivered,
            tuple(each for each in delivered if each.folder in judged),
        )


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
