"""Delivered models quantised: after a run, and later from their folders."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from torch import nn

from ranksearch.cards import write_card
from ranksearch.compression import PLAN_FILE, load_compressed
from ranksearch.costs import INT8_BYTES
from ranksearch.errors import InputError, expected
from ranksearch.exporting import Exporter, current_exports
from ranksearch.networks import draws_alone
from ranksearch.planning import PlanRecord, read_plan
from ranksearch.quantization import INT8_FILE, TOLERANCE, check_quantizer, quantize_file
from ranksearch.runs.config import load_options
from ranksearch.runs.export import Exports, formats
from ranksearch.runs.options import RunOptions, in_panels
from ranksearch.runs.settings import torch_threads
from ranksearch.runs.tasks import build_task
from ranksearch.tasks import Task

NEEDS_INT8 = "`quantize`, without which it has no effect"
BY_PLAN = f"it left out where {INT8_BYTES} counts: the plan says which layers are int8"

log = logging.getLogger(__name__)


def wanted_formats(options: RunOptions) -> tuple[Exporter, ...]:
    """The exporters of the files that the options ask for, the one whose file is quantised among them.

    Raises InputError where one of them, or quantisation, cannot work on this machine.
    """
    planned = INT8_BYTES in (options.metric, *dict(options.limit))
    if options.quantize_tolerance != TOLERANCE and (planned or options.quantize is None):
        wanted = BY_PLAN if planned else NEEDS_INT8
        raise InputError(expected("quantize_tolerance", wanted, options.quantize_tolerance))
    if planned or options.quantize is not None:
        return tuple(dict.fromkeys((*formats(options.export or ()), check_quantizer())))
    return formats(options.export)


def as_planned(options: RunOptions, record: PlanRecord) -> RunOptions:
    """The options, which ask for an int8 file if the plan has layers in int8."""
    return options.model_copy(update={"quantize": "int8"}) if record.int8 else options


def asks_for_files(options: RunOptions) -> bool:
    """Whether somebody asked for exported files, rather than that the default ones are tried."""
    return options.export is not None or options.quantize is not None


def lacks_int8(folder: Path, options: RunOptions, record: PlanRecord) -> bool:
    """Whether the options ask for an int8 file that is not there, or was made for another tolerance."""
    found = {each.file: each.quantized for each in current_exports(folder)}.get(INT8_FILE)
    tolerance = None if record.int8 else options.quantize_tolerance
    return options.quantize is not None and (found is None or found.tolerance != tolerance)


@draws_alone
def quantize_after(
    found: Exports, model: nn.Module, task: Task, record: PlanRecord, options: RunOptions
) -> Exports:
    """Add the int8 file to what was exported of a model. Where it cannot be made that costs a warning."""
    if check_quantizer().name in found.failed:
        return replace(found, failed={**found.failed, "int8": "there is no float file"})
    try:
        made = quantize_file(
            found.folder,
            model,
            task,
            planned=record.int8,
            tolerance=options.quantize_tolerance,
            batch=options.latency_batch,
        )
    except InputError as error:
        log.warning("%s It is left out.", error)
        return replace(found, failed={**found.failed, "int8": str(error)})
    return replace(found, records=(*found.records, made))


def quantize_delivered(
    found: Exports, *, model: str | None, data: str | None, tolerance: str | None, trust: bool
) -> Exports:
    """Add the int8 file to what was exported from a folder.

    model, data: names of the dense model, whose weights do not matter, and of the data. Without them the plan names
    them, if they are built in, or if the folder is to be trusted. The images are split as in the run.
    """
    path = found.folder / PLAN_FILE
    record = read_plan(path)
    given = {"model": model, "data": data, "weights": "none", "trust": trust, "quantize_tolerance": tolerance}
    options = load_options(given, under=_of_the_run(record), under_name=str(path))
    with torch_threads(options):
        task = build_task(options)
        loaded = load_compressed(found.folder, record, task.model)
        done = quantize_after(found, loaded, task, record, options)
    write_card(found.folder)
    return done


def _of_the_run(record: PlanRecord) -> dict[str, object]:
    """The options of a plan that say which images there are, how they are split, and how times are measured."""
    names = {"seed", "threads", "latency_batch", *in_panels("Model", "Data")}
    named = {} if record.model.name is None else {"model": record.model.name}
    return named | {name: value for name, value in record.options.items() if name in names}
