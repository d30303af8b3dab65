"""Models and data by name."""

from __future__ import annotations

from ranksearch.tasks.sources.architectures import dense_name, has_architecture, write_architecture
from ranksearch.tasks.sources.builders import PACKAGES
from ranksearch.tasks.sources.data import Data, ImageOptions, load_data, look_through
from ranksearch.tasks.sources.digits import DIGITS_SHAPE
from ranksearch.tasks.sources.models import (
    check_name,
    classes_in_weights,
    full_name,
    is_builtin,
    is_plain,
    load_model,
    make_model,
    pooling_of,
    text_options,
    wishes,
)
from ranksearch.tasks.sources.texts import TextOptions
from ranksearch.tasks.sources.transformers_models import blank_inputs

__all__ = [
    "DIGITS_SHAPE",
    "PACKAGES",
    "Data",
    "ImageOptions",
    "TextOptions",
    "blank_inputs",
    "check_name",
    "classes_in_weights",
    "dense_name",
    "full_name",
    "has_architecture",
    "is_builtin",
    "is_plain",
    "load_data",
    "load_model",
    "look_through",
    "make_model",
    "pooling_of",
    "text_options",
    "wishes",
    "write_architecture",
]
