"""What a plan file holds, as pydantic models: nothing else gets in, nothing else is written."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    FiniteFloat,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from ranksearch.costs import Part, part_in_words
from ranksearch.networks import Kind
from ranksearch.planning.behaviour_records import (
    BehaviourRecord,
    CriterionRecord,
    OutputsRecord,
    PromiseRecord,
)
from ranksearch.planning.delivery_record import DeliveryRecord
from ranksearch.planning.footprint_record import FootprintRecord
from ranksearch.planning.plan import DENSE
from ranksearch.records import Record, Terse

Amounts = dict[str, NonNegativeInt]
"""A cost: an amount for each cost metric, by name."""


class ModelRecord(Record):
    """Which dense model the plan is for."""

    name: str | None = Field(
        description="Where the model comes from, torchvision:resnet18; null for a module handed in."
    )
    digest: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] = Field(
        description="SHA-256 of the names and shapes of all tensors and the geometry of all layers."
    )
    input_shape: tuple[PositiveInt, ...] = Field(
        description="Of the batch of size 1 that costs are measured on."
    )


class FactorRecord(Terse):
    """One factor of a chain: a plain layer of its kind, with PyTorch's names for the arguments of convolutions.

    A chain runs its factors one after the other, from input to output.
    """

    kind: Kind
    in_channels: PositiveInt
    out_channels: PositiveInt
    kernel_size: tuple[PositiveInt, ...] = Field(description="Empty for a linear layer and an embedding.")
    stride: tuple[PositiveInt, ...]
    padding: tuple[NonNegativeInt, ...] | Literal["same"]
    padding_mode: str
    dilation: tuple[PositiveInt, ...]
    groups: PositiveInt
    bias: bool
    axes: tuple[NonNegativeInt, ...] = Field(
        description="Spatial axes of the layer's kernel that the factor covers; along the others it is 1 wide."
    )
    output_padding: tuple[NonNegativeInt, ...] = Field((), description="Of a transposed convolution alone.")


class LayerRecord(Terse):
    """A layer that can be factorised, and the candidate that carries it out."""

    name: str
    kind: Kind
    shape: tuple[PositiveInt, ...] = Field(description="Of its dense kernel: O, I, kernel size.")
    decomposition: str = Field(description="'dense' where the layer is kept as it is.")
    form: str = Field(description="The decomposition's shape, '' where it has just one.")
    ranks: tuple[PositiveInt, ...] = Field(description="In the order of the chain; empty for dense.")
    cost: Amounts = Field(description="Of the layer as it is carried out.")
    error: Annotated[FiniteFloat, Field(ge=0)] = Field(
        description="ε of the candidate, in units of the loss."
    )
    chain: tuple[FactorRecord, ...] | None = Field(
        description="What takes the layer's place; empty where it is kept as it is, null in files of version 1."
    )
    int8: bool = Field(False, description="Whether its weights are int8 in the quantised file.")
    unused: bool = Field(
        False,
        description="Whether its weights are zeros, since the outputs do not depend on the layer's kernel.",
    )

    @property
    def way(self) -> str:
        """How the layer is carried out, but for its ranks: `tucker2`, `tensor_train (ascending), int8`."""
        form = f" ({self.form})" if self.form else ""
        return f"{self.decomposition}{form}{', int8' * self.int8}{', unused' * self.unused}"

    @model_validator(mode="after")
    def _dense_has_no_ranks(self) -> Self:
        if (self.decomposition == DENSE) == bool(self.ranks):
            raise ValueError(f"ranks for {self.decomposition}: {list(self.ranks)}")
        return self


class DenseRecord(Record):
    """A layer that has to stay dense."""

    name: str
    reason: str


class LimitRecord(Record):
    """A further limit that the plan meets."""

    metric: str
    asked: str
    limit: NonNegativeInt
    dense: NonNegativeInt


class PartRecord(Record):
    """The part of the model that the budget counts; nothing outside of it is changed."""

    asked: str = Field(
        description="As it was asked for: factorisable, blocks, or patterns over names of layers."
    )
    dense: Amounts = Field(description="Cost of the part in the dense model, by cost metric.")

    @classmethod
    def of(cls, part: Part | None) -> Self | None:
        """The record of a part; None for the whole model."""
        return None if part is None else cls(asked=part.asked, dense=part.cost.amounts)

    def check(self, dense: Amounts) -> None:
        """Raise ValueError where this is no part of a model that costs `dense`."""
        if self.dense.keys() != dense.keys() or any(n > dense[name] for name, n in self.dense.items()):
            raise ValueError("a part that costs more than the model")


class PlanRecord(Record):
    """What a plan file holds."""

    version: Literal[2]
    model: ModelRecord
    budget: Annotated[FiniteFloat, Field(gt=0, le=1)] = Field(
        description="The fraction kept, of the whole model or of the part that counts."
    )
    asked: str = Field(description="The budget as it was asked for: 0.2, 54k.")
    metric: str = Field(description="The cost metric that the budget counts.")
    limit: NonNegativeInt = Field(description="The most that the model may cost, in the metric.")
    limits: tuple[LimitRecord, ...] = Field(description="Further limits, in other cost metrics.")
    dense: Amounts = Field(description="Cost of the whole dense model, by cost metric.")
    cost: Amounts = Field(description="Cost of the whole compressed model, by cost metric.")
    layers: tuple[LayerRecord, ...]
    dense_layers: tuple[DenseRecord, ...] = Field(
        description="Layers that cannot be factorised, or were ignored."
    )
    scores: dict[str, FiniteFloat | None] = Field(
        description="Measured and analytic; null where infinite or unknown."
    )
    seed: int
    options: dict[str, JsonValue] = Field(
        description="Options of the run that made the plan, or carried it out."
    )
    versions: dict[str, str] = Field(description="Of the packages that made the plan.")
    delivery: DeliveryRecord | None = Field(
        default=None, description="Of a delivered model; left out where the plan is all there is."
    )
    footprint: FootprintRecord | None = Field(
        default=None, description="What a delivered model was measured to take; left out of other plans."
    )
    behaviour: dict[str, BehaviourRecord] = Field(
        default_factory=dict,
        description="The delivered model beside the dense one, on `validation` and `test` data; left out where the "
        "plan is all there is.",
    )
    promise: PromiseRecord | None = Field(
        default=None, description="The drop that this model's budget was chosen for; left out without."
    )
    criteria: tuple[CriterionRecord, ...] = Field(
        default=(),
        description="Key figures that were fixed beforehand, with what was measured; left out without.",
    )
    outputs: OutputsRecord | None = Field(
        default=None,
        description="Outputs of the delivered model for seeded inputs; left out where none are kept.",
    )
    part: PartRecord | None = Field(
        default=None, description="What the budget counts; left out where that is the whole model."
    )

    @property
    def int8(self) -> tuple[str, ...]:
        """The names of the layers that are int8 in the quantised file."""
        return tuple(layer.name for layer in self.layers if layer.int8)

    @property
    def of_part(self) -> str:
        """` of the blocks` behind an amount that the budget counts; nothing where that is the whole model."""
        return "" if self.part is None else f" of {part_in_words(self.part.asked)}"

    def counted(self, metric: str, amount: int) -> int:
        """What the budget counts of a cost of the whole model."""
        return amount if self.part is None else amount - self.dense[metric] + self.part.dense[metric]

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [layer.name for layer in self.layers] + [layer.name for layer in self.dense_layers]
        if len(set(names)) < len(names):
            raise ValueError(f"layer {next(n for n in names if names.count(n) > 1)} named twice")
        return self

    @model_validator(mode="after")
    def _costs_count_the_budget(self) -> Self:
        metrics = (self.metric, *(limit.metric for limit in self.limits))
        for amounts in (self.dense, self.cost, *(layer.cost for layer in self.layers)):
            if amounts.keys() != self.cost.keys() or not amounts.keys() >= set(metrics):
                missing = ", ".join(sorted({*self.cost, *metrics} ^ amounts.keys()))
                raise ValueError(f"a cost without {missing}")
        if self.part is not None:
            self.part.check(self.dense)
        return self
