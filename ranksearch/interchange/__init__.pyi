from .base import Entry, Json, LeftOut, NoEntry, PlanExport, PlanExporter, export_of, geometry, planned
from .from_ranks import Wanted, plan_of_ranks, read_ranks
from .registry import PLAN_EXPORTERS
from .to_chains import ChainsRecord, chains_schema
from .write import export_plan_file, plan_path

__all__ = [
    "PLAN_EXPORTERS",
    "ChainsRecord",
    "Entry",
    "Json",
    "LeftOut",
    "NoEntry",
    "PlanExport",
    "PlanExporter",
    "Wanted",
    "chains_schema",
    "export_of",
    "export_plan_file",
    "geometry",
    "plan_of_ranks",
    "plan_path",
    "planned",
    "read_ranks",
]
