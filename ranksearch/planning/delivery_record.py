"""What a plan file says about a delivered model besides its plan: what it was made with, and what goes into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import (
    Field,
    FiniteFloat,
    NonNegativeInt,
    PositiveInt,
    SerializerFunctionWrapHandler,
    model_serializer,
)
from torch import Tensor

from ranksearch.errors import InputError, expected
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
    stretch: bool = Field(default=False, description="Whether they are resized as a whole, without a crop.")

    @model_serializer(mode="wrap")
    def _only_what_is_said(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Crops are what files of earlier versions know."""
        values: dict[str, Any] = write(self)
        return values if self.stretch else {key: x for key, x in values.items() if key != "stretch"}


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


def recorded_batch(delivery: DeliveryRecord | None, count: int, seed: int = 0) -> Batch | None:
    """Inputs of the recorded names, shapes and types, without data: real positions alone, tokens 0 and 1 by chance, and
    random numbers. None where nothing is recorded, or no more than one tensor of single precision.

    returns: A tuple or dict of (N, …) tensors, N being `count`.
    """
    known = {} if delivery is None else delivery.inputs
    if not known or [(name, given.dtype) for name, given in known.items()] == [("0", "float32")]:
        return None
    generator = torch.Generator().manual_seed(seed)
    made = {name: _made(name, given, count, generator) for name, given in known.items()}
    return tuple(made.values()) if all(name.isdecimal() for name in made) else made


def _made(name: str, given: InputRecord, count: int, generator: torch.Generator) -> Tensor:
    shape, dtype = (count, *given.shape[1:]), getattr(torch, given.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise InputError(expected(f"input {name}", "a type of torch", repr(given.dtype)))
    if "mask" in name:
        return torch.ones(shape, dtype=dtype)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    if name.isdecimal() or name.endswith("input_ids"):
        return torch.randint(0, 2, shape, generator=generator).to(dtype)
    return torch.zeros(shape, dtype=dtype)
