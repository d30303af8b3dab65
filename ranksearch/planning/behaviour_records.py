"""What a plan file says of how a delivered model behaves: beside the dense one, a promise, criteria, some outputs."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from ranksearch.planning.delivery_record import EstimateRecord
from ranksearch.records import Record
from ranksearch.tasks import Behaviour, Drop, Estimate

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]


class DropRecord(Record):
    """What the delivered model loses against the dense one on the same examples, in units of the task metric."""

    mean: FiniteFloat = Field(description="Dense minus delivered, the mean over examples.")
    stderr: FiniteFloat
    low: FiniteFloat | None = Field(description="Lower end of the paired 95 % interval; null where unknown.")
    high: FiniteFloat | None = Field(description="Upper end of the paired 95 % interval; null where unknown.")
    step: FiniteFloat = Field(
        description="What one example can lose or gain: 100 for an accuracy in per cent; 0 where it can be any number."
    )
    lost: NonNegativeInt = Field(description="Examples that lost a step: right before and wrong now.")
    gained: NonNegativeInt = Field(description="Examples that gained a step.")


class ClassDropRecord(Record):
    """A class that lost accuracy."""

    number: NonNegativeInt
    name: str | None = Field(description="Null where the data does not name its classes.")
    examples: PositiveInt
    drop: FiniteFloat = Field(description="In percentage points of the class's accuracy.")


class PredictionsRecord(Record):
    """What became of a classifier's predictions."""

    flips: Share = Field(description="Share of examples whose predicted class changed.")
    dense_ece: Share = Field(
        description="Expected calibration error of the dense model, in 15 bins (Guo et al. 2017)."
    )
    ece: Share = Field(description="Expected calibration error of the delivered model.")
    classes: tuple[ClassDropRecord, ...] = Field(description="The classes that lost most, the worst first.")


class BehaviourRecord(Record):
    """The delivered model beside the dense one on some data, which both answered in one pass."""

    metric: str = Field(description="The task metric's name: top-1 %.")
    examples: PositiveInt
    dense: FiniteFloat | None = Field(
        description="Task metric of the dense model; null where it is not finite."
    )
    dense_stderr: FiniteFloat | None
    delivered: FiniteFloat | None = Field(description="Task metric of the delivered model.")
    delivered_stderr: FiniteFloat | None
    drop: DropRecord | None = Field(description="Null where it is not finite.")
    predictions: PredictionsRecord | None = Field(description="Null where the task is no classification.")

    @property
    def of_dense(self) -> EstimateRecord:
        """The task metric of the dense model."""
        return EstimateRecord(mean=self.dense, stderr=self.dense_stderr, count=self.examples)

    @property
    def of_delivered(self) -> EstimateRecord:
        """The task metric of the delivered model."""
        return EstimateRecord(mean=self.delivered, stderr=self.delivered_stderr, count=self.examples)


class LookRecord(Record):
    """A budget that was tried for a promise."""

    asked: str
    drop: FiniteFloat = Field(description="On the validation data.")
    bound: FiniteFloat | None = Field(
        description="The upper end of its confidence interval; null where infinite."
    )
    kept: bool


class PromiseRecord(Record):
    """A largest drop that was promised, and whether it is kept."""

    max_drop: Annotated[FiniteFloat, Field(gt=0)] = Field(description="In units of the task metric.")
    confidence: Share = Field(
        description="Of the statement that no budget is taken to keep the promise that does not, over all looks."
    )
    most_looks: PositiveInt = Field(description="Looks that the confidence is divided among, made or not.")
    looks: tuple[LookRecord, ...] = Field(description="In the order in which they were made.")
    kept: bool = Field(description="Whether the bound of this plan's budget is within the promise.")
    held_on_test: bool | None = Field(
        description="Whether the drop on the test data is within the promise; null without test data."
    )


class CriterionRecord(Record):
    """A key figure that was fixed beforehand."""

    name: str
    relation: Literal["<=", ">="]
    asked: str = Field(description="As it was given.")
    limit: FiniteFloat = Field(description="In the unit of the figure.")
    measured: FiniteFloat | None = Field(description="Null where it could not be measured.")
    on: str = Field(description="The data that it was measured on, or 'model'.")
    passed: bool


class OutputsRecord(Record):
    """Outputs for seeded inputs, by which the model is known on another machine."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(
        description="Of numpy.random.RandomState, whose standard_normal gives the inputs in single precision."
    )
    inputs: Annotated[int, Field(ge=1, le=64)] = Field(description="Number of inputs.")
    every: PositiveInt = Field(
        description="Of the outputs for an input, one after the other, each that many-th is kept."
    )
    values: tuple[tuple[FiniteFloat, ...], ...]


def behaviour_record(found: Behaviour, metric: str, classes: Sequence[str] = ()) -> BehaviourRecord:
    """A behaviour in its stored form.

    metric: what the task metric is called. classes: names of the classes, where there are any.
    """
    predictions = None
    if (own := found.predictions) is not None:
        drops = tuple(
            ClassDropRecord(
                number=x.number,
                name=classes[x.number] if x.number < len(classes) else None,
                examples=x.examples,
                drop=x.drop,
            )
            for x in own.classes
        )
        predictions = PredictionsRecord(flips=own.flips, dense_ece=own.dense_ece, ece=own.ece, classes=drops)
    return BehaviourRecord(
        metric=metric,
        examples=found.drop.count,
        dense=finite(found.dense.mean),
        dense_stderr=finite(found.dense.stderr),
        delivered=finite(found.compressed.mean),
        delivered_stderr=finite(found.compressed.stderr),
        drop=_drop_record(found.drop),
        predictions=predictions,
    )


def _drop_record(found: Drop) -> DropRecord | None:
    if not (isfinite(found.mean) and isfinite(found.stderr)):
        return None
    low, high = found.interval()
    return DropRecord(
        mean=found.mean,
        stderr=found.stderr,
        low=finite(low),
        high=finite(high),
        step=found.step,
        lost=found.lost,
        gained=found.gained,
    )


def drop_of(record: BehaviourRecord) -> Drop | None:
    """The drop that a record holds."""
    if (found := record.drop) is None:
        return None
    return Drop(found.mean, found.stderr, record.examples, found.step, found.lost, found.gained)


def dense_estimate(record: BehaviourRecord) -> Estimate | None:
    """The dense model's task metric that a record holds."""
    if record.dense is None or record.dense_stderr is None:
        return None
    return Estimate(record.dense, record.dense_stderr, record.examples)


def finite(value: float) -> float | None:
    """A number as JSON can hold it: None for what is not finite."""
    return value if isfinite(value) else None
