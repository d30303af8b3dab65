"""Search: plans for one or several budgets, scored on the model, remembered in Optuna studies."""

from __future__ import annotations

from ranksearch.search.progress import Progress, no_progress
from ranksearch.search.run import SearchResult, search
from ranksearch.search.settings import SearchSettings
from ranksearch.search.storage import open_storage

__all__ = ["Progress", "SearchResult", "SearchSettings", "no_progress", "open_storage", "search"]
