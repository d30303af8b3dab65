from .lease import check_unused
from .quiet import quiet_optuna
from .registry import SAMPLERS
from .storage import open_storage
from .trials import (
    CHOOSE_ANOTHER,
    finished,
    open_study,
    reporter,
    restored,
    run_trials,
    same_parameters,
    storable,
)

__all__ = [
    "CHOOSE_ANOTHER",
    "SAMPLERS",
    "check_unused",
    "finished",
    "open_storage",
    "open_study",
    "quiet_optuna",
    "reporter",
    "restored",
    "run_trials",
    "same_parameters",
    "storable",
]
