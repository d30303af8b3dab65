from .axes import batch_axes
from .base import Exporter
from .files import EXPORTS_FILE, ExportRecord, ExportsRecord, current_exports, export_file, read_exports
from .held import BATCH_SIZES, TOLERANCE, deviation, example_of
from .registry import EXPORTERS, exporters

__all__ = [
    "BATCH_SIZES",
    "EXPORTERS",
    "EXPORTS_FILE",
    "TOLERANCE",
    "ExportRecord",
    "Exporter",
    "ExportsRecord",
    "batch_axes",
    "current_exports",
    "deviation",
    "example_of",
    "export_file",
    "exporters",
    "read_exports",
]
