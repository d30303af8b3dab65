"""Optuna studies: storage, samplers, trials."""

from __future__ import annotations

from ranksearch.searching.studies.quiet import quiet_optuna
from ranksearch.searching.studies.samplers import SAMPLERS
from ranksearch.searching.studies.storage import open_storage
from ranksearch.searching.studies.trials import finished, open_study, reporter, restored, run_trials, storable

__all__ = [
    "SAMPLERS",
    "finished",
    "open_storage",
    "open_study",
    "quiet_optuna",
    "reporter",
    "restored",
    "run_trials",
    "storable",
]
