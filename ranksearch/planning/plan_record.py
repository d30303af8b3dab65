"""What a plan file holds, as pydantic models: nothing else gets in, nothing else is written."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from ranksearch.costs import Metric
from ranksearch.networks import Kind
from ranksearch.planning.plan import DENSE


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class CostRecord(_Record):
    """Parameters, and FLOPs (two per multiply-accumulate) of one example of the model's input shape."""

    params: NonNegativeInt
    flops: NonNegativeInt


class ModelRecord(_Record):
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


class LayerRecord(_Record):
    """A layer that can be factorised, and the candidate that carries it out."""

    name: str
    kind: Kind
    shape: tuple[PositiveInt, ...] = Field(description="Of its dense kernel: O, I, kernel size.")
    decomposition: str = Field(description="'dense' where the layer is kept as it is.")
    form: str = Field(description="The decomposition's shape, '' where it has just one.")
    ranks: tuple[PositiveInt, ...] = Field(description="In the order of the chain; empty for dense.")
    params: NonNegativeInt
    flops: NonNegativeInt
    error: Annotated[FiniteFloat, Field(ge=0)] = Field(
        description="ε of the candidate, in units of the loss."
    )

    @model_validator(mode="after")
    def _dense_has_no_ranks(self) -> Self:
        if (self.decomposition == DENSE) == bool(self.ranks):
            raise ValueError(f"ranks for {self.decomposition}: {list(self.ranks)}")
        return self


class DenseRecord(_Record):
    """A layer that has to stay dense."""

    name: str
    reason: str


class PlanRecord(_Record):
    """What a plan file holds."""

    version: Literal[1]
    model: ModelRecord
    budget: Annotated[FiniteFloat, Field(gt=0, le=1)] = Field(
        description="The fraction kept, of the whole model."
    )
    metric: Metric
    limit: NonNegativeInt = Field(description="The most that the model may cost, in the metric.")
    dense: CostRecord = Field(description="Cost of the whole dense model.")
    cost: CostRecord = Field(description="Cost of the whole compressed model.")
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

    @model_validator(mode="after")
    def _names_are_distinct(self) -> Self:
        names = [layer.name for layer in self.layers] + [layer.name for layer in self.dense_layers]
        if len(set(names)) < len(names):
            raise ValueError(f"layer {next(n for n in names if names.count(n) > 1)} named twice")
        return self
