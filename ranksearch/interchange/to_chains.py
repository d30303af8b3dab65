"""`chains`: plain JSON for anybody, with every factor of every layer as PyTorch names its arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, FiniteFloat, NonNegativeInt, PositiveInt

from ranksearch.interchange.base import Entry, Json, LeftOut, PlanExporter, kept_dense
from ranksearch.planning import FactorRecord, LayerRecord, ModelRecord, PlanRecord
from ranksearch.records import Record


class ChainRecord(Record):
    """A layer that becomes a chain. Its factors run one after the other, from input to output."""

    kind: Literal["linear", "conv1d", "conv2d", "conv3d"]
    shape: tuple[PositiveInt, ...] = Field(description="Of its dense kernel: O, I, kernel size.")
    decomposition: str
    form: str = Field(description="The decomposition's shape, '' where it has just one.")
    ranks: tuple[PositiveInt, ...] = Field(description="In the order of the chain.")
    cost: dict[str, NonNegativeInt] = Field(description="Of the chain, by cost metric.")
    error: Annotated[FiniteFloat, Field(ge=0)] = Field(
        description="Estimate of the divergence of the outputs."
    )
    chain: Annotated[tuple[FactorRecord, ...], Field(min_length=1)]


class ChainsRecord(Record):
    """What a file of chains holds."""

    format: Literal["ranksearch chains"]
    version: Literal[1]
    model: ModelRecord
    cost: dict[str, NonNegativeInt] = Field(description="Of the whole compressed model, by cost metric.")
    layers: dict[str, ChainRecord] = Field(
        description="Layers that are replaced, by the name of their module in the model."
    )
    dense: tuple[str, ...] = Field(description="Layers that stay as they are, by name.")


class Chains(PlanExporter):
    """Plain JSON with every factor of every layer; it expresses every plan."""

    name = "chains"
    grouped = True

    def entry(self, layer: LayerRecord) -> Entry:
        kept = layer.model_dump(mode="json", exclude={"name", "int8"})
        return Entry(kept)

    def content(self, plan: PlanRecord, entries: Mapping[str, Json], left_out: tuple[LeftOut, ...]) -> Json:
        return {
            "format": "ranksearch chains",
            "version": 1,
            "model": plan.model.model_dump(mode="json"),
            "cost": plan.cost,
            "layers": dict(entries),
            "dense": list(kept_dense(plan)),
        }

    def usage(self, path: str) -> str:
        return f"""\
import json

from torch import nn

KINDS = {{"linear": nn.Linear, "conv1d": nn.Conv1d, "conv2d": nn.Conv2d, "conv3d": nn.Conv3d}}
CONVOLUTION = ("kernel_size", "stride", "padding", "padding_mode", "dilation", "groups")


def chain(factors):
    made = []
    for factor in factors:
        options = {{}} if factor["kind"] == "linear" else {{name: factor[name] for name in CONVOLUTION}}
        kind = KINDS[factor["kind"]]
        made.append(kind(factor["in_channels"], factor["out_channels"], bias=factor["bias"], **options))
    return nn.Sequential(*made)  # with random weights: fit them to those of the layer


with open({path!r}, encoding="utf-8") as file:
    plan = json.load(file)
for name, layer in plan["layers"].items():
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, chain(layer["chain"]))
"""


def chains_schema() -> dict[str, Any]:
    """The JSON Schema of files of chains; `docs/chains.schema.json` holds it."""
    schema = ChainsRecord.model_json_schema()
    return (
        {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | {"title": "ranksearch chains"}
    )
