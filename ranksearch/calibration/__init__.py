"""Calibration: second moments of a network on images, and the coordinates that follow from them."""

from __future__ import annotations

from ranksearch.calibration.digests import computation_digest, source_of, task_digest
from ranksearch.calibration.error_kinds import ErrorKind, simplify
from ranksearch.calibration.moments import WIDE, Moments, drawn_columns, shrink, unfold_chunks
from ranksearch.calibration.of_task import calibration_moments, moments_keys, task_moments
from ranksearch.calibration.whitening import Columns, Whitened, kernel_error, whiten

__all__ = [
    "WIDE",
    "Columns",
    "ErrorKind",
    "Moments",
    "Whitened",
    "calibration_moments",
    "computation_digest",
    "drawn_columns",
    "kernel_error",
    "moments_keys",
    "shrink",
    "simplify",
    "source_of",
    "task_digest",
    "task_moments",
    "unfold_chunks",
    "whiten",
]
