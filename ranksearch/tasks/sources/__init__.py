"""Models and data by name."""

from __future__ import annotations

from ranksearch.tasks.sources.data import Data, ImageOptions, load_data
from ranksearch.tasks.sources.digits import DIGITS_SHAPE
from ranksearch.tasks.sources.models import (
    classes_in_weights,
    full_name,
    is_builtin,
    is_plain,
    load_model,
    make_model,
    wishes,
)

__all__ = [
    "DIGITS_SHAPE",
    "Data",
    "ImageOptions",
    "classes_in_weights",
    "full_name",
    "is_builtin",
    "is_plain",
    "load_data",
    "load_model",
    "make_model",
    "wishes",
]
