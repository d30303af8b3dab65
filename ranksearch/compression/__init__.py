"""Full compression: a plan is applied, trained and saved."""

from __future__ import annotations

from ranksearch.compression.batchnorm import Recalibrated, recalibrate
from ranksearch.compression.config import CompressConfig
from ranksearch.compression.factorise import best_recalibrated, fitted_models
from ranksearch.compression.full import Compressed, check_stages, compress
from ranksearch.compression.in_order import Weights, refit_in_order
from ranksearch.compression.outputs import OUTPUTS_TOLERANCE, outputs_apart, outputs_record
from ranksearch.compression.refit import Fitted, fitted_layers, planned_layers
from ranksearch.compression.saved import (
    WEIGHTS_FILE,
    check_sums,
    load_compressed,
    save_compressed,
    save_plan,
)
from ranksearch.folders import PLAN_FILE

__all__ = [
    "OUTPUTS_TOLERANCE",
    "PLAN_FILE",
    "WEIGHTS_FILE",
    "CompressConfig",
    "Compressed",
    "Fitted",
    "Recalibrated",
    "Weights",
    "best_recalibrated",
    "check_stages",
    "check_sums",
    "compress",
    "fitted_layers",
    "fitted_models",
    "load_compressed",
    "outputs_apart",
    "outputs_record",
    "planned_layers",
    "recalibrate",
    "refit_in_order",
    "save_compressed",
    "save_plan",
]
