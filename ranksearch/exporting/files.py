"""Exported files in the folder of a model, with a record of how each was made and checked."""

from __future__ import annotations

import shutil
from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, PositiveInt
from torch import nn

from ranksearch.checksums import read_sums, sha256_of, write_sums
from ranksearch.compression import WEIGHTS_FILE
from ranksearch.errors import InputError, MismatchError
from ranksearch.exporting.base import Exporter
from ranksearch.exporting.held import BATCH_SIZES, exported
from ranksearch.files import FILE_NAME, whole_file
from ranksearch.networks import Batch, Output, one_tensor
from ranksearch.records import Record, read_record, write_record

EXPORTS_FILE = "exports.json"

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class FileTime(Record):
    """The time of a file over the float file's, as the median and 95 % interval, on batches of `batch` examples."""

    ratio: Annotated[FiniteFloat, Field(gt=0)]
    low: Annotated[FiniteFloat, Field(gt=0)]
    high: Annotated[FiniteFloat, Field(gt=0)]
    batch: PositiveInt
    threads: PositiveInt


class QuantizedRecord(Record):
    """What quantisation made of a float file.

    layers: how many could be quantised. float_layers: the names of those that were not. divergence: of the outputs from
    the float model's on the divergence images, at most `limit`, which is `tolerance` times the divergence of a model
    that always returns the mean output; both None where the plan says which layers are int8. scores: the task metric on
    validation and test images, and standard errors.
    """

    bits: Literal["int8"]
    layers: PositiveInt
    float_layers: tuple[str, ...]
    tolerance: Annotated[FiniteFloat, Field(gt=0)] | None
    limit: Annotated[FiniteFloat, Field(ge=0)] | None
    divergence: Annotated[FiniteFloat, Field(ge=0)]
    divergence_stderr: Annotated[FiniteFloat, Field(ge=0)]
    evaluations: PositiveInt
    scores: dict[str, FiniteFloat]
    bytes: PositiveInt
    float_bytes: PositiveInt
    time: FileTime


class ExportRecord(Record):
    """One exported file.

    weights: SHA-256 of the `model.safetensors` beside it that it was made of, None where there is none. difference: the
    largest one between its outputs and the model's, relative to the model's largest output, for batches of all
    `batch_sizes`. versions: of the packages that made it. quantized: where it is no longer the model itself.
    """

    exporter: str
    file: Annotated[str, Field(pattern=rf"^{FILE_NAME}$")]
    sha256: Digest
    weights: Digest | None
    difference: Annotated[FiniteFloat, Field(ge=0)]
    batch_sizes: tuple[PositiveInt, ...]
    versions: dict[str, str]
    quantized: QuantizedRecord | None = None


class ExportsRecord(Record):
    """What `exports.json` holds."""

    version: Literal[1]
    exports: tuple[ExportRecord, ...]


def read_exports(folder: Path) -> tuple[ExportRecord, ...]:
    """The records of a folder; none where it has no `exports.json`. Raises InputError where that is damaged."""
    path = folder / EXPORTS_FILE
    if not path.exists():
        return ()
    way_out = "If it was damaged or changed, remove it, and export the model again."
    return read_record(path, ExportsRecord, "exports", way_out=way_out).exports


def current_exports(folder: Path) -> tuple[ExportRecord, ...]:
    """The records of files that are there as they were written, and were made of the weights that are there."""
    try:
        sums, records = read_sums(folder), read_exports(folder)
    except InputError:
        return ()
    return tuple(
        record
        for record in records
        if record.weights == sums.get(WEIGHTS_FILE)
        and record.sha256 == sums.get(record.file)
        and (folder / record.file).is_file()
        and sha256_of(folder / record.file) == record.sha256
    )


def export_file(
    folder: Path, exporter: Exporter, model: nn.Module, examples: Batch, output: Output = one_tensor
) -> ExportRecord:
    """Export the model of a folder into it, and write down how in `exports.json` and `SHA256SUMS`.

    examples: inputs, of which the first few are compared. Raises InputError, and writes nothing, where the model cannot
    be exported or the file does something else.
    """
    with exported(exporter, model, examples, output) as (temporary, apart):
        return keep_file(folder, exporter.file, temporary, exporter, apart)


def keep_file(
    folder: Path,
    name: str,
    temporary: Path,
    exporter: Exporter,
    apart: float,
    quantized: QuantizedRecord | None = None,
) -> ExportRecord:
    """Copy a file that was checked into the folder of its model, and write down how it was made.

    exporter: runs the file. apart: how far its outputs are from the model's.
    """
    kept = [record for record in current_exports(folder) if record.file != name]
    with whole_file(folder / name) as target:
        shutil.copyfile(temporary, target)
    record = ExportRecord(
        exporter=exporter.name,
        file=name,
        sha256=sha256_of(folder / name),
        weights=_weights(folder),
        difference=apart,
        batch_sizes=BATCH_SIZES,
        versions={package: _version(package) for package in ("ranksearch", "torch", *exporter.packages)},
        quantized=quantized,
    )
    write_record(folder / EXPORTS_FILE, ExportsRecord(version=1, exports=(*kept, record)))
    write_sums(folder, (name, EXPORTS_FILE))
    return record


def _weights(folder: Path) -> str | None:
    try:
        return read_sums(folder).get(WEIGHTS_FILE)
    except MismatchError:
        return None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # onnxruntime is also there as onnxruntime-gpu
        return str(getattr(import_module(package), "__version__", "unknown"))
