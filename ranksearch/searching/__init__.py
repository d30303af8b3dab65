"""Search: plans for one or several budgets, scored on the model, remembered in Optuna studies."""

from __future__ import annotations

from ranksearch.searching.progress import Progress, no_progress
from ranksearch.searching.run import SearchResult, search
from ranksearch.searching.settings import SearchSettings
from ranksearch.searching.storage import open_storage

__all__ = ["Progress", "SearchResult", "SearchSettings", "no_progress", "open_storage", "search"]
