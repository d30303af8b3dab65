from .artifacts import Artifact, Artifacts
from .board import SEARCH, Board, Found, find_board, leading
from .check import check_storage
from .description import describe_study
from .lease import check_unused
from .proxy import serving
from .queue import Claim, Queue, Queued, finished
from .quiet import quiet_optuna
from .registry import SAMPLERS
from .storage import PROXY, TIMEOUT, check_grpc, open_storage
from .trials import (
    CHOOSE_ANOTHER,
    Evaluate,
    open_study,
    reporter,
    restored,
    run_next,
    run_trials,
    same_parameters,
    storable,
)

__all__ = [
    "CHOOSE_ANOTHER",
    "PROXY",
    "SAMPLERS",
    "SEARCH",
    "TIMEOUT",
    "Artifact",
    "Artifacts",
    "Board",
    "Claim",
    "Evaluate",
    "Found",
    "Queue",
    "Queued",
    "check_grpc",
    "check_storage",
    "check_unused",
    "describe_study",
    "find_board",
    "finished",
    "leading",
    "open_storage",
    "open_study",
    "quiet_optuna",
    "reporter",
    "restored",
    "run_next",
    "run_trials",
    "same_parameters",
    "serving",
    "storable",
]
