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
from .within_drop import (
    CONFIDENCE,
    LOOKS,
    Look,
    WithinDrop,
    check_max_drop,
    look_confidence,
    predicted_errors,
    smallest_within,
)

__all__ = [
    "CONFIDENCE",
    "LOOKS",
    "Evaluated",
    "FrontRecord",
    "Look",
    "PlanEntry",
    "SearchResult",
    "SearchSettings",
    "WithinDrop",
    "check_max_drop",
    "describe_correlation",
    "front_record",
    "look_confidence",
    "merged",
    "pareto_front",
    "predicted_errors",
    "read_front",
    "search",
    "smallest_within",
    "write_front",
    "write_trials",
]
