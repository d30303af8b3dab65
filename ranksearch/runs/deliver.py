"""Delivery: plan files carried out, saved and evaluated; what was delivered before is not made again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from torch import nn

from ranksearch.calibration import Moments, calibration_moments
from ranksearch.checksums import SUMS_FILE
from ranksearch.compression import (
    PLAN_FILE,
    check_sums,
    compress,
    load_compressed,
    planned_layers,
    save_compressed,
    save_plan,
)
from ranksearch.costs import Cost
from ranksearch.errors import MismatchError
from ranksearch.exporting import exporters
from ranksearch.planning import Network, Plan, PlanRecord, read_plan, to_plan
from ranksearch.progress import Reporter, renamed
from ranksearch.runs.export import Exports, compared_on, export_each, missing
from ranksearch.runs.options import RunOptions
from ranksearch.runs.run_folder import RunFolder
from ranksearch.runs.settings import compress_config, recorded
from ranksearch.tasks import Estimate, Role, Task, evaluate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivered:
    """A compressed model on disk; `record` holds its plan, its cost and all its scores, `exports` what was exported
    just now."""

    record: PlanRecord
    folder: Path
    plan_file: Path
    exports: Exports


def deliver(
    task: Task, network: Network, options: RunOptions, folder: RunFolder, reporter: Reporter
) -> tuple[Delivered, ...]:
    """The compressed models of the plan files, but for those that were delivered before."""
    records = {kept.name: read_plan(folder.plan(kept.name)) for kept in options.budget}
    done = {budget: _delivered(folder.compressed(budget), record) for budget, record in records.items()}
    plans = [to_plan(record) for budget, record in records.items() if done[budget] is None]
    moments = shared_moments(task, network, plans, options, reporter)
    found = []
    for budget, record in records.items():
        out = folder.compressed(budget)
        if (compressed := done[budget]) is None:
            compressed = carry_out(task, network, record, options, out, reporter, moments)
        elif any(role not in compressed.scores and task.dataset(role) is not None for role in FINAL):
            compressed = evaluated(
                load_compressed(out, compressed, task.model).to(task.device), task, compressed, out
            )
        exports = exported(task, compressed, options, out)
        found.append(Delivered(compressed, out, folder.plan(budget), exports))
    return tuple(found)


def exported(task: Task, record: PlanRecord, options: RunOptions, out: Path) -> Exports:
    """The files that the options ask for, of a compressed model that is there; those that are there are kept."""
    wanted = missing(out, exporters(options.export))
    if not wanted:
        return Exports(out, ())
    model = load_compressed(out, record, task.model)
    return export_each(out, wanted, model, compared_on(task), task.output)


def shared_moments(
    task: Task, network: Network, plans: Sequence[Plan], options: RunOptions, reporter: Reporter
) -> Mapping[str, Moments]:
    """Moments of all calibration images for the layers that some plan factorises."""
    layers = planned_layers(network.layers, plans)
    return calibration_moments(task, layers, seed=options.seed, progress=reporter.progress)


def _delivered(out: Path, record: PlanRecord) -> PlanRecord | None:
    """The record of a compressed model that is there, has this plan, and is as it was written."""
    if not (out / SUMS_FILE).is_file():  # which is written last
        return None
    try:
        check_sums(out)
    except MismatchError as error:
        log.warning("%s It is made again.", error)
        return None
    found = read_plan(out / PLAN_FILE)
    return found if to_plan(found).key == to_plan(record).key else None


def carry_out(
    task: Task,
    network: Network,
    record: PlanRecord,
    options: RunOptions,
    out: Path,
    reporter: Reporter,
    moments: Mapping[str, Moments],
) -> PlanRecord:
    """Compress, save, evaluate; the record with the ε of the refitted layers and the scores."""
    name = record.asked
    compressed = compress(
        task,
        to_plan(record),
        config=compress_config(options),
        moments=moments,
        layers=network.layers,
        progress=renamed(reporter.progress, f"{{}} {name}"),
    )
    scores = {"factorised": compressed.factorised.mean, "delivered": compressed.delivered.mean}
    if len(compressed.rounds) > 1:
        scores |= {f"round-{k}": found.mean for k, found in enumerate(compressed.rounds, 1)}
        ends = ", ".join(f"{found.mean:.4g}" for found in compressed.rounds)
        reporter.line(f"budget {name}: divergence after each round {ends}")
    choices = compressed.plan.choices
    layers = tuple(x.model_copy(update={"error": choices[x.name].error}) for x in record.layers)
    searched = {key: x for key, x in record.scores.items() if not key.startswith(("round-", *FINAL))}
    found = {"layers": layers, "scores": {**searched, **_written(scores)}, "options": recorded(options)}
    done = record.model_copy(update=found)
    save_compressed(out, compressed.model, done)
    return evaluated(compressed.model, task, done, out)


FINAL: tuple[Role, ...] = ("validation", "test")
"""Data of the final evaluation."""


def evaluated(model: nn.Module, task: Task, record: PlanRecord, out: Path) -> PlanRecord:
    """The record of a saved model with its final scores, written again: whatever is wrong with those data, the model
    is there."""
    scores = {**record.scores, **_written(final_scores(model, task))}
    done = record.model_copy(update={"scores": scores})
    save_plan(out, done)
    return done


def final_scores(model: nn.Module, task: Task) -> dict[str, float]:
    """The metric on validation and test images, with its standard error; nothing where there is no data."""
    scores: dict[str, float] = {}
    for role in FINAL:
        found = evaluate(model, task, role)
        if found is not None:
            scores |= {role: found.mean, f"{role}_stderr": found.stderr}
    return scores


def _written(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if isfinite(value) else None for key, value in scores.items()}


@dataclass(frozen=True)
class RunReport:
    """What a run came to; `validation` and `test` are the dense model's metric, None without data."""

    dense: Cost
    metric_name: str
    validation: Estimate | None
    test: Estimate | None
    delivered: tuple[Delivered, ...]
