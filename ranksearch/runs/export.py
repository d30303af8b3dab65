"""Delivered models exported: after a run, and later from their folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ranksearch.compression import PLAN_FILE, check_sums, load_compressed
from ranksearch.errors import InputError, expected
from ranksearch.exporting import (
    BATCH_SIZES,
    EXPORTERS,
    Exporter,
    ExportRecord,
    current_exports,
    example_of,
    export_file,
)
from ranksearch.networks import Batch, Output, draws_alone, head, one_tensor
from ranksearch.planning import read_plan
from ranksearch.tasks import Task
from ranksearch.tasks.sources import is_plain, make_model

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Exports:
    """What was exported into a folder; `failed` are the names of exporters that could not."""

    folder: Path
    records: tuple[ExportRecord, ...]
    failed: tuple[str, ...] = ()


def missing(folder: Path, wanted: Sequence[Exporter]) -> list[Exporter]:
    """The exporters whose file is not there, or not as it was written, or of other weights."""
    there = {record.exporter for record in current_exports(folder)}
    return [exporter for exporter in wanted if exporter.name not in there]


def compared_on(task: Task) -> Batch:
    """The inputs that exported files are compared on: calibration images that no fit has seen."""
    inputs, _ = next(task.batches("divergence", labelled=False))
    return head(inputs, max(BATCH_SIZES))


@draws_alone
def export_each(
    folder: Path,
    wanted: Sequence[Exporter],
    model: nn.Module,
    examples: Batch,
    output: Output = one_tensor,
) -> Exports:
    """Export the model of a folder in several formats. One that fails costs a warning, and the others go on."""
    records, failed = [], []
    for exporter in wanted:
        try:
            records.append(export_file(folder, exporter, model, examples, output))
        except InputError as error:
            log.warning("%s It is left out.", error)
            failed.append(exporter.name)
    return Exports(folder, tuple(records), tuple(failed))


@draws_alone
def export_delivered(
    folder: Path, wanted: Sequence[Exporter], *, model: str | None = None, trust: bool = False
) -> Exports:
    """Export the compressed model of a folder, compared with itself on random inputs.

    model: the name of the dense model. Without it the plan names it, if it is a built-in one, or if the folder is to be
    trusted. Raises InputError where the folder cannot be loaded.
    """
    record = read_plan(folder / PLAN_FILE)
    name = record.model.name
    if model is not None:
        name = model
    elif name is None or not (trust or is_plain(name)):
        wanted_model = "a plan that names a built-in model"
        trusted = "" if name is None else ", or add `trust=True` if you trust it"
        way_out = f"Name the dense model with `model`{trusted}."
        raise InputError(expected(str(folder), wanted_model, name or "none", way_out))
    check_sums(folder)
    compressed = load_compressed(folder, record, make_model(name))
    return export_each(folder, wanted, compressed, example_of(record.model.input_shape))


def usages(exports: Sequence[Exports], shown: Callable[[Path], str] = str) -> list[str]:
    """Python that runs the exported files, for one file of each format; `shown` writes its path."""
    paths: dict[str, Path] = {}
    for found in exports:
        for record in found.records:
            paths.setdefault(record.exporter, found.folder / record.file)
    return [text for name, path in paths.items() if (text := EXPORTERS.get(name).usage(shown(path)))]
