"""Delivery: plan files carried out, saved and evaluated; what was delivered before is not made again."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ranksearch.calibration import Moments, calibration_moments
from ranksearch.cards import write_card
from ranksearch.checksums import SUMS_FILE
from ranksearch.compression import (
    PLAN_FILE,
    check_sums,
    compress,
    fitted_layers,
    load_compressed,
    outputs_record,
    save_compressed,
)
from ranksearch.costs import Cost
from ranksearch.errors import MismatchError
from ranksearch.exporting import current_exports
from ranksearch.folders import TRAINING
from ranksearch.planning import Gauge, Network, Plan, PlanRecord, finite, read_plan, to_plan
from ranksearch.progress import Reporter, renamed
from ranksearch.runs.account import Account
from ranksearch.runs.evaluation import FINAL, Saved, evaluated
from ranksearch.runs.export import Exports, compared_on, export_each, missing
from ranksearch.runs.footprints import with_footprint
from ranksearch.runs.options import RunOptions
from ranksearch.runs.quantize import as_planned, asks_for_files, lacks_int8, quantize_after, wanted_formats
from ranksearch.runs.run_folder import RunFolder
from ranksearch.runs.settings import compress_config, recorded, timing_settings
from ranksearch.tasks import Estimate, Role, Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivered:
    """A compressed model on disk; `record` holds its plan, its cost and all its scores."""

    record: PlanRecord
    folder: Path
    plan_file: Path
    exports: Exports


def deliver(
    task: Task,
    network: Network,
    options: RunOptions,
    folder: RunFolder,
    reporter: Reporter,
    account: Account,
    *,
    budgets: Sequence[str],
    roles: Sequence[Role] = FINAL,
) -> tuple[Saved, ...]:
    """The compressed models of plan files, evaluated; what was delivered before is not made again.

    budgets: names of the plan files' budgets.
    """
    records = {budget: read_plan(folder.plan(budget)) for budget in budgets}
    done = {budget: _delivered(folder.compressed(budget), record) for budget, record in records.items()}
    plans = [to_plan(record) for budget, record in records.items() if done[budget] is None]
    moments = shared_moments(task, network, plans, options, reporter) if plans else {}
    saved = []
    for budget, record in records.items():
        out = folder.compressed(budget)
        if (compressed := done[budget]) is None:
            compressed = carry_out(task, network, record, options, out, reporter, moments)
        saved.append(Saved(compressed, out))
    gauge = Gauge(task, network, timing_settings(options))
    measured = evaluated(task, saved, account, roles, progress=reporter.progress)
    return tuple(with_footprint(gauge, each) for each in measured)


def handed_over(task: Task, record: PlanRecord, options: RunOptions, out: Path, plan_file: Path) -> Delivered:
    """A compressed model that is there, with the exported files that the options ask for and its card."""
    exports = exported(task, record, options, out)
    write_card(out)
    return Delivered(record, out, plan_file, exports)


def exported(task: Task, record: PlanRecord, options: RunOptions, out: Path) -> Exports:
    """The files that the options ask for, of a compressed model that is there; those that are there are kept."""
    options = as_planned(options, record)
    wanted, asked = wanted_formats(options), asks_for_files(options)
    names = {exporter.name for exporter in wanted}
    there = tuple(kept for kept in current_exports(out) if kept.exporter in names)
    lacking, int8 = missing(out, wanted), lacks_int8(out, options, record)
    if not lacking and not int8:
        return Exports(out, there, asked=asked)
    model = load_compressed(out, record, task.model)
    made = export_each(out, lacking, model, compared_on(task), task.output, asked=asked)
    if int8:
        there = tuple(kept for kept in there if kept.quantized is None)
        made = quantize_after(made, model, task, record, options)
    return replace(made, records=(*there, *made.records))


def shared_moments(
    task: Task, network: Network, plans: Sequence[Plan], options: RunOptions, reporter: Reporter
) -> Mapping[str, Moments]:
    """Moments of all calibration images for the layers that some plan factorises."""
    layers = fitted_layers(network.layers, plans)
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
    """Compress and save; the record with the ε of the refitted layers and the divergences."""
    name = record.asked
    compressed = compress(
        task,
        to_plan(record),
        config=compress_config(options),
        moments=moments,
        layers=network.layers,
        progress=renamed(reporter.progress, f"{{}} {name}"),
        on_loss=lambda stage, step, value: reporter.loss(f"{stage} {name}", step, value),
        kept=out / TRAINING,
    )
    scores = {"factorised": compressed.factorised.mean, "delivered": compressed.delivered.mean}
    if len(compressed.rounds) > 1:
        scores |= {f"round-{k}": found.mean for k, found in enumerate(compressed.rounds, 1)}
        ends = ", ".join(f"{found.mean:.4g}" for found in compressed.rounds)
        reporter.line(f"budget {name}: divergence after each round {ends}")
    choices = compressed.plan.choices
    layers = tuple(x.model_copy(update={"error": choices[x.name].error}) for x in record.layers)
    searched = {key: x for key, x in record.scores.items() if not key.startswith(("round-", *FINAL))}
    found = {
        "layers": layers,
        "scores": {**searched, **{key: finite(value) for key, value in scores.items()}},
        "options": recorded(options),
        "outputs": outputs_record(compressed.model, task.example),
        # What a plan says of a model that it was carried out to before does not hold for this one.
        "delivery": None,
        "footprint": None,
        "behaviour": {},
        "promise": None,
        "criteria": (),
    }
    done = record.model_copy(update=found)
    save_compressed(out, compressed.model, done)
    forget_training(out)
    return done


def forget_training(out: Path) -> None:
    """Remove what was kept of the training of a model that is delivered."""
    for path in (out / TRAINING).glob("*.pt"):
        path.unlink()
    with suppress(OSError):  # there is none, or somebody has put something else there
        (out / TRAINING).rmdir()


@dataclass(frozen=True)
class RunReport:
    """What a run came to.

    validation, test: the dense model's metric, None without data. chosen: the delivered models that the run is for, all
    of them unless their budget was looked for.
    """

    dense: Cost
    metric_name: str
    validation: Estimate | None
    test: Estimate | None
    delivered: tuple[Delivered, ...]
    chosen: tuple[Delivered, ...]

    @property
    def passed(self) -> bool:
        """Whether every criterion is met, and a promise kept."""
        records = [found.record for found in self.chosen]
        return all(
            (record.promise is None or record.promise.kept) and all(each.passed for each in record.criteria)
            for record in records
        )
