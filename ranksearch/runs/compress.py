"""A plan file carried out: task → check → full compression → evaluation."""

from __future__ import annotations

from pathlib import Path

from ranksearch.compression import PLAN_FILE, check_stages
from ranksearch.costs import Cost, computed
from ranksearch.exporting import exporters
from ranksearch.planning import PlanRecord, check_plan, inspect_network, to_plan
from ranksearch.progress import Reporter
from ranksearch.runs.deliver import Delivered, RunReport, carry_out, exported, shared_moments
from ranksearch.runs.narrate import describe_dense, describe_task
from ranksearch.runs.options import RunOptions
from ranksearch.runs.settings import candidate_config, compress_config, torch_threads
from ranksearch.runs.tasks import build_task_and_data
from ranksearch.tasks import evaluate, metric_name


def compress_pipeline(record: PlanRecord, options: RunOptions, out: Path, reporter: Reporter) -> RunReport:
    """Carry out a plan on the model that the options name, and save it in `out`."""
    with torch_threads(options):
        training = compress_config(options)
        exporters(options.export)  # raises early what would end this late
        candidate_config(options)  # registers cost metrics and the user's own decompositions
        task, _ = build_task_and_data(options)
        check_stages(task, training)
        network = inspect_network(task, ignore=options.ignore, metrics=computed(tuple(record.cost)))
        check_plan(record, network.layers, task.model)
        describe_task(task, network.cost, reporter)
        validation = describe_dense(task, reporter)
        moments = shared_moments(task, network, [to_plan(record)], options, reporter)
        found = carry_out(task, network, record, options, out, reporter, moments)
        test = evaluate(task.model, task, "test")
        delivered = Delivered(found, out, out / PLAN_FILE, exported(task, found, options, out))
        return RunReport(Cost(**record.dense), metric_name(task), validation, test, (delivered,))
