"""Search: plans for one or several budgets, scored on the model, remembered in Optuna studies."""

from __future__ import annotations

from ranksearch.progress import Progress, no_progress
from ranksearch.searching.front_file import (
    FrontRecord,
    PlanEntry,
    describe_correlation,
    front_record,
    read_front,
    write_front,
    write_trials,
)
from ranksearch.searching.settings import SearchSettings
from ranksearch.searching.stages import SearchResult, search
from ranksearch.searching.studies import open_storage

__all__ = [
    "FrontRecord",
    "PlanEntry",
    "Progress",
    "SearchResult",
    "SearchSettings",
    "describe_correlation",
    "front_record",
    "no_progress",
    "open_storage",
    "read_front",
    "search",
    "write_front",
    "write_trials",
]
