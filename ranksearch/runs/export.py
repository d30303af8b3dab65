"""Delivered models exported: after a run, and later from their folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from ranksearch.cards import file_snippet, load_snippet, write_card
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
    exporters,
)
from ranksearch.networks import Batch, Output, draws_alone, head, one_tensor
from ranksearch.planning import read_plan, recorded_batch
from ranksearch.tasks import Task
from ranksearch.tasks.sources import dense_name, has_architecture, make_model

log = logging.getLogger(__name__)


BY_DEFAULT = ("pt2",)
"""What delivered models are exported to where nobody says, if they can be."""


@dataclass(frozen=True)
class Exports:
    """The exported files of a folder.

    failed: by the name of the exporter, why it could not. asked: whether somebody asked for these formats.
    """

    folder: Path
    records: tuple[ExportRecord, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    asked: bool = True

    @property
    def lacking(self) -> bool:
        """Whether a file that somebody asked for is not there."""
        return self.asked and bool(self.failed)


def formats(names: Sequence[str] | None) -> tuple[Exporter, ...]:
    """The exporters of these names; None stands for those that are tried by default. Raises InputError."""
    return exporters(BY_DEFAULT if names is None else names)


def missing(folder: Path, wanted: Sequence[Exporter]) -> list[Exporter]:
    """The exporters whose file is not there, or not as it was written, or of other weights."""
    there = {record.file for record in current_exports(folder)}
    return [exporter for exporter in wanted if exporter.file not in there]


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
    *,
    asked: bool = True,
) -> Exports:
    """Export the model of a folder in several formats. One that fails does not keep the others from going on; where
    somebody `asked` for it, it costs a warning."""
    records, failed = [], {}
    for exporter in wanted:
        try:
            records.append(export_file(folder, exporter, model, examples, output))
        except InputError as error:
            log.log(logging.WARNING if asked else logging.DEBUG, "%s It is left out.", error)
            failed[exporter.name] = str(error)
    return Exports(folder, tuple(records), failed, asked)


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
    known = dense_name(folder, name, trust=trust) if model is None else model
    if known is None:
        wanted_model = "a plan that names a built-in model"
        trusted = "" if name is None else ", or add `trust=True` if you trust it"
        way_out = f"Name the dense model with `model`{trusted}."
        raise InputError(expected(str(folder), wanted_model, name or "none", way_out))
    check_sums(folder)
    compressed = load_compressed(folder, record, make_model(known))
    recorded = recorded_batch(record.delivery, max(BATCH_SIZES))
    examples = example_of(record.model.input_shape) if recorded is None else recorded
    exports = export_each(folder, wanted, compressed, examples)
    write_card(folder)
    return exports


def snippets(exports: Sequence[Exports], shown: Callable[[Path], str] = str) -> list[list[str]]:
    """Lines of Python that run one exported file of each format, or load the first model where there is none.

    shown: writes a path.
    """
    paths: dict[str, Path] = {}
    for found in exports:
        for record in found.records:
            paths.setdefault(record.exporter, found.folder / record.file)
    runs = [
        file_snippet(EXPORTERS.get(name).usage(shown(path)), read_plan(path.with_name(PLAN_FILE)).delivery)
        for name, path in paths.items()
    ]
    if not runs:
        folder = exports[0].folder
        plan = read_plan(folder / PLAN_FILE)
        runs = [load_snippet(shown(folder), plan, alone=has_architecture(folder))]
    return [lines for lines in runs if lines]
