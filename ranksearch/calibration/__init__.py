"""Calibration: second moments of a network on images, and the coordinates that follow from them."""

from __future__ import annotations

from ranksearch.calibration.digests import computation_digest, source_of, task_digest, task_parts
from ranksearch.calibration.error_kinds import ErrorKind, simplify
from ranksearch.calibration.held import HeldMoments
from ranksearch.calibration.moments import WIDE, Moments, shrink
from ranksearch.calibration.of_task import calibration_moments, moments_keys, task_moments
from ranksearch.calibration.patches import (
    add_square,
    drawn_columns,
    square_in_kernel_order,
    symmetric,
    unfold_chunks,
)
from ranksearch.calibration.roots import Columns, NearDiagonal
from ranksearch.calibration.whitening import Whitened, kernel_error, whiten

__all__ = [
    "WIDE",
    "Columns",
    "ErrorKind",
    "HeldMoments",
    "Moments",
    "NearDiagonal",
    "Whitened",
    "add_square",
    "calibration_moments",
    "computation_digest",
    "drawn_columns",
    "kernel_error",
    "moments_keys",
    "shrink",
    "simplify",
    "source_of",
    "square_in_kernel_order",
    "symmetric",
    "task_digest",
    "task_moments",
    "task_parts",
    "unfold_chunks",
    "whiten",
]
