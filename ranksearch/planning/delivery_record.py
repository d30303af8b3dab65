"""What a plan file says about a delivered model besides its plan: what it was made with, and what goes into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt
from torch import Tensor

from ranksearch.networks import Batch, arguments
from ranksearch.records import Record


class EstimateRecord(Record):
    """A mean over examples."""

    mean: FiniteFloat | None = Field(description="Null where it is not finite.")
    stderr: FiniteFloat | None = Field(description="The standard error of the mean.")
    count: PositiveInt = Field(description="How many examples.")


class InputRecord(Record):
    """A tensor that the model takes."""

    shape: tuple[NonNegativeInt, ...] = Field(description="Of a batch of one.")
    dtype: Annotated[str, Field(pattern=r"^\w+$")] = Field(description="torch's name, float32.")


class ImagesRecord(Record):
    """How images become inputs: resized, cropped, scaled to [0, 1], minus `mean`, over `std`."""

    channels: PositiveInt
    size: tuple[PositiveInt, PositiveInt] = Field(description="Height and width.")
    mean: tuple[FiniteFloat, ...] = Field(description="Per channel.")
    std: tuple[FiniteFloat, ...] = Field(description="Per channel.")
    crop_pct: FiniteFloat = Field(
        description="Fraction of the shorter side that the central crop keeps, if images are resized."
    )
    interpolation: str


class DeliveryRecord(Record):
    """What is known of a delivered model besides its plan."""

    command: str | None = Field(
        description="The command that made it, with files and folders by name; null where Python made it."
    )
    epochs: NonNegativeInt | None = Field(description="Epochs of fine-tuning; null where unknown.")
    data: str | None = Field(description="The data by name, without its place; null where unknown.")
    task_metric: str
    dense: dict[str, EstimateRecord] = Field(
        description="The dense model's task metric, by part of the data: validation, test."
    )
    inputs: dict[str, InputRecord] = Field(
        description="What the model is called with, by position or keyword; empty where tensors lie deeper."
    )
    images: ImagesRecord | None = Field(description="Null where inputs are no images, or come finished.")


def input_records(example: Batch) -> Mapping[str, InputRecord]:
    """The arguments that a model is called with for a batch of one: by position, "0", or by keyword."""
    args, kwargs = arguments(example)
    named = {**{str(k): value for k, value in enumerate(args)}, **kwargs}
    found = {}
    for name, value in named.items():
        if not isinstance(value, Tensor):
            return {}
        found[str(name)] = InputRecord(
            shape=tuple(value.shape), dtype=str(value.dtype).removeprefix("torch.")
        )
    return found
