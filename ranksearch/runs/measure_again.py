"""A delivered model measured again, and held against what its plan records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ranksearch.compression import OUTPUTS_TOLERANCE, PLAN_FILE, WEIGHTS_FILE, outputs_apart
from ranksearch.costs import COSTS, measure_cost, shown, unit_of
from ranksearch.errors import MismatchError, expected
from ranksearch.networks import discover
from ranksearch.planning import BehaviourRecord, PlanRecord, recorded_batch
from ranksearch.records import read_record
from ranksearch.runs.options import RunOptions
from ranksearch.runs.run_folder import RunFolder, SplitsRecord
from ranksearch.runs.times import time_of
from ranksearch.tasks import Role, Task, evaluate, metric_name

ROUNDING = 1e-3
"""What machines may make of a task metric, relative to it, or as a share of the examples."""


@dataclass(frozen=True)
class Found:
    """What was found in order, or else what was not checked, with the reason."""

    checked: str = ""
    unchecked: str = ""


def check_costs(folder: Path, record: PlanRecord, model: nn.Module) -> tuple[str, list[str]]:
    """What a built model costs, and the cost metrics that were not compared: measured, not exact, or unknown here."""
    metrics = tuple(metric for metric in record.cost if metric in COSTS and COSTS.get(metric).exact)
    recorded = recorded_batch(record.delivery, 1)
    example = torch.zeros(record.model.input_shape) if recorded is None else recorded
    cost = measure_cost(model, example, metrics)
    for metric in metrics:
        if cost.of(metric) != record.cost[metric]:
            wanted = f"{record.cost[metric]:,} {metric}, as in {PLAN_FILE}"
            raise MismatchError(expected(str(folder / WEIGHTS_FILE), wanted, f"{cost.of(metric):,}"))
    text = ", ".join(f"{shown(metric, cost.of(metric))} {unit_of(metric)}" for metric in metrics)
    return f"costs what the plan says, {text}", [metric for metric in record.cost if metric not in metrics]


def check_outputs(folder: Path, record: PlanRecord, model: nn.Module) -> str:
    """That a model's outputs for seeded inputs are those that its record holds."""
    assert record.outputs is not None
    apart = outputs_apart(model, record.outputs, record.model.input_shape)
    if not apart <= OUTPUTS_TOLERANCE:
        wanted = (
            f"the outputs in {PLAN_FILE} for {record.outputs.inputs} seeded inputs, to {OUTPUTS_TOLERANCE:g}"
        )
        got = f"a difference of {apart:.2g} of the largest"
        raise MismatchError(expected(str(folder / WEIGHTS_FILE), wanted, got))
    return f"outputs for {record.outputs.inputs} seeded inputs differ by {apart:.1g} of the largest"


def check_splits(folder: Path, splits: SplitsRecord) -> None:
    """That the data is split as in the run, where its folder is around the model's."""
    kept = RunFolder(folder.resolve().parent.parent).splits
    inside = folder.resolve().parent.name == "compressed" and kept.is_file()
    if inside and read_record(kept, SplitsRecord, "splits") != splits:
        raise MismatchError(expected("data", f"data that is split as in {kept}", "other examples"))


def check_metric(folder: Path, record: PlanRecord, model: nn.Module, task: Task, role: Role) -> Found:
    """That a model's task metric on the data of a role is the recorded one."""
    kept = record.behaviour.get(role)
    if kept is None or kept.delivered is None:
        return Found(unchecked=f"{role} data (nothing was recorded for it)")
    found = evaluate(model, task, role)
    if found is None:
        return Found(unchecked=f"{role} data (none, or without labels)")
    name = metric_name(task)
    if found.count != kept.examples:
        wanted = f"{kept.examples:,} {role} examples, as at delivery"
        raise MismatchError(expected("data", wanted, f"{found.count:,}"))
    if not abs(found.mean - kept.delivered) <= _tolerance(kept):
        wanted = f"{name} {kept.delivered:.4f} on the {role} data, to {_tolerance(kept):.2g}"
        raise MismatchError(expected(str(folder), wanted, f"{found.mean:.4f}"))
    return Found(
        f"{name} {found.mean:.2f} on {found.count:,} {role} examples, {kept.delivered:.2f} at delivery"
    )


def _tolerance(kept: BehaviourRecord) -> float:
    """How far the metric may be off: by one example, or by a thousandth."""
    step = kept.drop.step if kept.drop is not None else 0.0
    return max(step / kept.examples, step * ROUNDING, ROUNDING * abs(kept.delivered or 0.0))


def check_time(record: PlanRecord, task: Task, options: RunOptions, metric: str) -> Found:
    """The time of the model on this machine, beside the recorded one: there is nothing to hold it against."""
    layers = discover(task.model, task.example, output=task.output)
    ratio, _ = time_of(record, task, layers, options)
    recorded = record.cost[metric] / record.dense[metric]
    text = f"{metric} {ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) of the dense model's here"
    return Found(f"{text}, {recorded:.3f} at delivery")
