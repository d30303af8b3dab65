from .quiet import quiet_optuna
from .registry import SAMPLERS
from .storage import open_storage
from .trials import finished, open_study, reporter, restored, run_trials, storable

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
