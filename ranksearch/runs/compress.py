"""A plan file, or ranks from elsewhere, carried out: task → check → full compression → evaluation."""

from __future__ import annotations

from pathlib import Path

from ranksearch.compression import PLAN_FILE, check_stages
from ranksearch.costs import ALWAYS, Cost, computed
from ranksearch.errors import InputError, expected
from ranksearch.interchange import AimetScores, ImportedRanks, plan_of
from ranksearch.planning import (
    Gauge,
    Network,
    PlanRecord,
    check_plan,
    inspect_network,
    make_record,
    to_plan,
)
from ranksearch.progress import Reporter
from ranksearch.runs.accept import check_measurable, judge, parse_criteria
from ranksearch.runs.account import Account
from ranksearch.runs.command import OF_A_DELIVERY, command
from ranksearch.runs.deliver import RunReport, carry_out, handed_over, shared_moments
from ranksearch.runs.evaluation import Saved, evaluated
from ranksearch.runs.expectation import describe_training, expectation
from ranksearch.runs.footprints import with_footprint
from ranksearch.runs.measured_time import with_measured_time
from ranksearch.runs.narrate import describe_dense, describe_task
from ranksearch.runs.options import RunOptions
from ranksearch.runs.quantize import as_planned, wanted_formats
from ranksearch.runs.settings import (
    candidate_config,
    compress_config,
    recorded,
    timing_settings,
    torch_threads,
)
from ranksearch.runs.tasks import build_task_and_data
from ranksearch.runs.tracked import Recording, record_options, tracking
from ranksearch.tasks import Task, metric_name


def compress_pipeline(
    given: PlanRecord | ImportedRanks | AimetScores, options: RunOptions, out: Path, reporter: Reporter
) -> RunReport:
    """Carry out a plan, or ranks from elsewhere, on the model that the options name, and save it in `out`."""
    with torch_threads(options), tracking(options, out) as track:
        reporter = Recording(reporter, track)
        training = compress_config(options)
        wanted_formats(
            as_planned(options, given) if isinstance(given, PlanRecord) else options
        )  # raises early what would end this late
        criteria = parse_criteria(options)
        candidate_config(options)  # registers cost metrics and the user's own decompositions
        task, data = build_task_and_data(options, reporter.line, reporter.progress)
        check_stages(task, training)
        check_measurable(criteria, task)
        metrics = computed(tuple(given.cost)) if isinstance(given, PlanRecord) else ALWAYS
        record_options(track, options)
        network = inspect_network(task, ignore=options.ignore, metrics=metrics)
        record = given if isinstance(given, PlanRecord) else planned(given, task, network, options)
        check_plan(record, network.layers, task.model)
        describe_task(task, network.cost, reporter)
        validation = describe_dense(task, reporter)
        describe_training(expectation(task, options), task, options, reporter)
        record = with_measured_time(record, task, network, options, reporter)
        moments = shared_moments(task, network, [to_plan(record)], options, reporter)
        said = command(f"ranksearch compress {PLAN_FILE}", options, OF_A_DELIVERY)
        account = Account(task, data, options, said, {} if validation is None else {"validation": validation})
        made = Saved(carry_out(task, network, record, options, out, reporter, moments), out)
        (saved,) = evaluated(task, [made], account, progress=reporter.progress)
        saved = with_footprint(Gauge(task, network, timing_settings(options)), saved)
        saved = judge(saved, criteria, task, network, options)
        delivered = handed_over(task, saved.record, options, out, out / PLAN_FILE)
        track.delivered(delivered.record)
        test = account.dense.get("test")
        return RunReport(
            Cost(**record.dense), metric_name(task), validation, test, (delivered,), (delivered,)
        )


def planned(
    given: ImportedRanks | AimetScores, task: Task, network: Network, options: RunOptions
) -> PlanRecord:
    """The record of a plan that comes from elsewhere."""
    if len(options.budget) > 1:
        raise InputError(expected("budget", "one at a time", f"{len(options.budget)} of them"))
    kept = options.budget[0] if options.budget else None
    plan, budget = plan_of(given, network.layers, network.cost, kept, options.metric)
    return make_record(
        task.model,
        network.layers,
        plan,
        example=task.example,
        dense=network.cost,
        budget=budget,
        seed=options.seed,
        model_name=task.model_name,
        options=recorded(options),
    )
