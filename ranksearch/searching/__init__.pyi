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
from .sharing import Shared, check_same_task, read_shared, shared
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
from .worker import work

__all__ = [
    "CONFIDENCE",
    "LOOKS",
    "Evaluated",
    "FrontRecord",
    "Look",
    "PlanEntry",
    "SearchResult",
    "SearchSettings",
    "Shared",
    "WithinDrop",
    "check_max_drop",
    "check_same_task",
    "describe_correlation",
    "front_record",
    "look_confidence",
    "merged",
    "pareto_front",
    "predicted_errors",
    "read_front",
    "read_shared",
    "search",
    "shared",
    "smallest_within",
    "work",
    "write_front",
    "write_trials",
]
