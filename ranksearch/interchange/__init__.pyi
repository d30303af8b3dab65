from .base import Entry, Json, LeftOut, NoEntry, PlanExport, PlanExporter, export_of
from .from_aimet import AimetScores
from .from_ranks import DEFAULT, ImportedRanks, Wanted
from .layers import geometry, planned
from .reading import plan_of, read_ranks
from .registry import PLAN_EXPORTERS
from .to_chains import ChainsRecord, chains_schema
from .write import export_plan_file, plan_path

__all__ = [
    "DEFAULT",
    "PLAN_EXPORTERS",
    "AimetScores",
    "ChainsRecord",
    "Entry",
    "ImportedRanks",
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
    "plan_of",
    "plan_path",
    "planned",
    "read_ranks",
]
