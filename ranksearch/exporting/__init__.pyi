from .axes import batch_axes
from .base import Exporter
from .files import (
    EXPORTS_FILE,
    ExportRecord,
    ExportsRecord,
    FileTime,
    QuantizedRecord,
    current_exports,
    export_file,
    keep_file,
    read_exports,
)
from .held import BATCH_SIZES, TOLERANCE, deviation, difference, example_of
from .registry import EXPORTERS, exporters

__all__ = [
    "BATCH_SIZES",
    "EXPORTERS",
    "EXPORTS_FILE",
    "TOLERANCE",
    "ExportRecord",
    "Exporter",
    "ExportsRecord",
    "FileTime",
    "QuantizedRecord",
    "batch_axes",
    "current_exports",
    "deviation",
    "difference",
    "example_of",
    "export_file",
    "exporters",
    "keep_file",
    "read_exports",
]
