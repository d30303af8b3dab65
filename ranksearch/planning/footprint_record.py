"""What a delivered model was measured to take beside its costs: bytes and time, next to the dense model's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from ranksearch.records import Record

Positive = Annotated[FiniteFloat, Field(gt=0)]


class SizeRecord(Record):
    """A model's bytes."""

    bytes: NonNegativeInt = Field(description="Of the tensors in the weights file, without its header.")
    activation_bytes: NonNegativeInt | None = Field(
        description="The most that tensors other than weights take at once in a forward pass; null if unknown."
    )


class TimeRecord(Record):
    """The time of a forward pass, measured in turns with the dense model. It holds for what is named here."""

    runtime: str
    version: str = Field(description="Of the runtime.")
    processor: str
    threads: PositiveInt
    batch: PositiveInt
    dense_seconds: Positive
    ratio: Positive = Field(description="The median time over the dense model's.")
    low: Positive = Field(description="Of the 95 % interval of the ratio.")
    high: Positive = Field(description="Of the 95 % interval of the ratio.")

    @property
    def seconds(self) -> float:
        """Of the compressed model."""
        return self.ratio * self.dense_seconds


class FootprintRecord(Record):
    """What a model takes."""

    batch: PositiveInt = Field(description="Examples in the batch that activations are counted for.")
    dense: SizeRecord
    compressed: SizeRecord
    time: TimeRecord | None = Field(description="null where it could not be measured.")
