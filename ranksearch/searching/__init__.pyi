from .front import Evaluated, merged, pareto_front
from .front_file import (
    FrontRecord,
    PlanEntry,
    describe_correlation,
    front_record,
    read_front,
    write_front,
    write_trials,
)
from .settings import SearchSettings
from .stages import SearchResult, search

__all__ = [
    "Evaluated",
    "FrontRecord",
    "PlanEntry",
    "SearchResult",
    "SearchSettings",
    "describe_correlation",
    "front_record",
    "merged",
    "pareto_front",
    "read_front",
    "search",
    "write_front",
    "write_trials",
]
