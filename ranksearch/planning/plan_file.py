"""The plan file: a plan as JSON, validated both ways, with its JSON Schema."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Collection, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import JsonValue
from torch import Tensor, nn

from ranksearch.costs import ALWAYS, Budget, Cost, Kept
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import MismatchError, expected
from ranksearch.files import write_text
from ranksearch.networks import (
    UNCALLED,
    Batch,
    Chain,
    Layer,
    factor_geometry,
    factor_kind,
    kernel_shape,
    list_layers,
    tensors,
)
from ranksearch.planning.builder import chain_of
from ranksearch.planning.plan import DENSE, Candidate, Plan
from ranksearch.planning.plan_record import (
    DenseRecord,
    FactorRecord,
    LayerRecord,
    LimitRecord,
    ModelRecord,
    PartRecord,
    PlanRecord,
)
from ranksearch.records import read_record, write_record

PLAN_VERSION: Literal[2] = 2
LEFT_OUT = ("delivery", "footprint", "behaviour", "promise", "criteria", "outputs", "part")
"""Fields that are left out where they say nothing."""
PACKAGES = ("ranksearch", "torch", "optuna", "tensorly", "numpy")


def make_record(
    model: nn.Module,
    layers: Sequence[Layer],
    plan: Plan,
    *,
    example: Batch,
    dense: Cost,
    budget: Budget,
    seed: int,
    model_name: str | None = None,
    scores: Mapping[str, float | None] | None = None,
    options: Mapping[str, JsonValue] | None = None,
) -> PlanRecord:
    """The record of a plan for the dense `model`; scores that are not finite become null.

    `example` is a batch of the model's input; `dense` the dense model's cost on one example.
    """
    return record_of(
        model_record(model, example, model_name),
        layers,
        plan,
        dense=dense,
        budget=budget,
        seed=seed,
        scores=scores,
        options=options,
    )


def model_record(model: nn.Module, example: Batch, name: str | None = None) -> ModelRecord:
    """Which dense model plans are for."""
    shape = (1, *tensors(example)[0].shape[1:])
    return ModelRecord(name=name, digest=model_digest(model), input_shape=shape)


def record_of(
    model: ModelRecord,
    layers: Sequence[Layer],
    plan: Plan,
    *,
    dense: Cost,
    budget: Budget,
    seed: int,
    scores: Mapping[str, float | None] | None = None,
    options: Mapping[str, JsonValue] | None = None,
) -> PlanRecord:
    """The same for a model that is not at hand."""
    known = {layer.name: layer for layer in layers}
    return PlanRecord(
        version=PLAN_VERSION,
        model=model,
        budget=budget.fraction,
        asked=budget.name,
        metric=budget.metric,
        limit=budget.limit,
        limits=tuple(
            LimitRecord(metric=other.metric, asked=other.name, limit=other.limit, dense=other.dense)
            for other in budget.also
        ),
        dense=dense.amounts,
        cost=plan.cost.amounts,
        layers=tuple(_layer_record(known[name], candidate) for name, candidate in plan.choices.items()),
        dense_layers=tuple(
            DenseRecord(name=x.name, reason=x.reason or "not in the plan")
            for x in layers
            if x.name not in plan.choices
        ),
        scores={
            k: float(v) if v is not None and math.isfinite(v) else None for k, v in (scores or {}).items()
        },
        seed=seed,
        options=dict(options or {}),
        versions=package_versions(),
        part=PartRecord.of(budget.part),
    )


def package_versions() -> dict[str, str]:
    """The versions of the packages that plans are made with."""
    return {name: metadata.version(name) for name in PACKAGES} | {"python": platform.python_version()}


def to_plan(record: PlanRecord) -> Plan:
    """The plan that a record holds."""
    choices = {
        x.name: Candidate(x.decomposition, x.form, x.ranks, Cost(**x.cost), x.error, x.int8, x.unused)
        for x in record.layers
    }
    return Plan(choices, Cost(**record.cost))


def model_digest(model: nn.Module, names: Collection[str] | None = None) -> str:
    """SHA-256 of the names and shapes of a model's tensors and the geometry of its layers, without values.

    names: of the layers whose geometry counts; all layers' by default.
    """
    tensors = sorted(
        (name, tuple(tensor.shape))
        for name, tensor in model.state_dict().items()
        if isinstance(tensor, Tensor)
    )
    layers = sorted(
        (x.name, x.kind, x.stride, str(x.padding), x.dilation, x.padding_mode, x.groups)
        + ((x.output_padding,) if x.traits.transposed else ())
        for x in list_layers(model)
        if names is None or x.name in names
    )
    return hashlib.sha256(json.dumps([tensors, layers]).encode()).hexdigest()


def check_plan(record: PlanRecord, layers: Sequence[Layer], model: nn.Module) -> None:
    """Checks that a plan can be applied to a dense model: MismatchError names the first difference.

    Layers of the kinds that came later need not be in it: they stay dense.
    """
    known = {layer.name: layer for layer in layers}
    for planned in record.layers:
        _check_layer(planned, known.get(planned.name))
    for kept in record.dense_layers:
        if kept.name not in known:
            raise _mismatch(f"layer {kept.name}", "a layer of the model", "none of that name")
    named = {x.name for x in record.layers} | {x.name for x in record.dense_layers}
    for layer in layers:
        if layer.name not in named and not layer.traits.later:
            raise _mismatch(f"layer {layer.name}", "a model without it", "a model that has it")
    digest = model_digest(model, named)
    if digest != record.model.digest:
        wanted = f"one with digest {record.model.digest[:12]}…"
        got = f"{digest[:12]}…, a tensor or a layer's stride or padding differs"
        raise _mismatch("model", wanted, got)


def _check_layer(planned: LayerRecord, layer: Layer | None) -> None:
    what = f"layer {planned.name}"
    if layer is None:
        raise _mismatch(what, "a layer of the model", "none of that name")
    if (planned.kind, planned.shape) != (layer.kind, kernel_shape(layer)):
        wanted = f"a {planned.kind} with a kernel of shape {planned.shape}"
        raise _mismatch(what, wanted, f"a {layer.kind} with {kernel_shape(layer)}")
    if planned.decomposition == DENSE:
        return
    if layer.reason and not (planned.unused and layer.reason == UNCALLED):
        raise _mismatch(what, "one that can be factorised", layer.reason)
    if wrong := misfit(layer, planned.decomposition, planned.form, planned.ranks):
        raise _mismatch(what, *wrong)


def misfit(layer: Layer, decomposition: str, form: str, ranks: Sequence[int]) -> tuple[str, object] | None:
    """What was expected and what came where a layer cannot be factorised in this way; None where it can."""
    if decomposition not in DECOMPOSITIONS.names():
        return f"one of {', '.join(DECOMPOSITIONS.names())}", repr(decomposition)
    known = DECOMPOSITIONS.get(decomposition)
    forms = known.forms(layer)
    if form not in forms:
        return f"a form of {decomposition} among {list(forms)}", repr(form)
    most = known.max_ranks(layer, form)
    if len(ranks) != len(most) or any(r > m for r, m in zip(ranks, most, strict=True)):
        return f"{len(most)} ranks of at most {list(most)}", list(ranks)
    return None


def _mismatch(what: str, wanted: str, got: object) -> MismatchError:
    return MismatchError(
        expected(f"plan, {what}", wanted, got, "Is this the model that the plan was made for?")
    )


def _layer_record(layer: Layer, candidate: Candidate) -> LayerRecord:
    return LayerRecord(
        name=layer.name,
        kind=layer.kind,
        shape=kernel_shape(layer),
        decomposition=candidate.decomposition,
        form=candidate.form,
        ranks=candidate.ranks,
        cost=candidate.cost.amounts,
        error=candidate.error,
        chain=chain_record(layer, candidate),
        int8=candidate.int8,
        unused=candidate.unused,
    )


def chain_record(layer: Layer, candidate: Candidate) -> tuple[FactorRecord, ...]:
    """The factors of a candidate's chain as plain layers; () if the layer stays dense."""
    if candidate.is_dense:
        return ()
    chain = chain_of(layer, candidate)
    return tuple(_factor(layer, chain, k) for k in range(len(chain)))


def _factor(layer: Layer, chain: Chain, position: int) -> FactorRecord:
    factor = chain[position]
    geometry = factor_geometry(layer, factor)
    return FactorRecord(
        kind=factor_kind(layer, position),
        in_channels=factor.in_channels,
        out_channels=factor.out_channels,
        bias=layer.bias and position + 1 == len(chain),
        axes=factor.axes,
        **vars(geometry),
    )


def write_plan(path: Path, record: PlanRecord) -> None:
    """Write a plan file atomically: a concurrent reader sees either the old file or the new one."""
    write_record(path, record, without=[name for name in LEFT_OUT if not getattr(record, name)])


def read_plan(path: Path) -> PlanRecord:
    """Read a plan file. InputError names the file, the field, the expected and the actual value."""
    return read_record(path, PlanRecord, "plan", {1: _upgraded})


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """A file of version 1, which only has parameters and FLOPs, in the format of version 2."""
    found = data | {"version": PLAN_VERSION, "limits": []}
    budget = data.get("budget")
    if isinstance(budget, int | float) and 0 < budget <= 1:
        found["asked"] = Kept(fraction=float(budget)).name
    if isinstance(layers := data.get("layers"), list):
        found["layers"] = [_upgraded_layer(layer) if isinstance(layer, dict) else layer for layer in layers]
    return found


def _upgraded_layer(layer: dict[str, Any]) -> dict[str, Any]:
    cost = {name: layer[name] for name in ALWAYS if name in layer}
    kept = {key: value for key, value in layer.items() if key not in ALWAYS}
    return kept | {"cost": cost, "chain": [] if layer.get("decomposition") == DENSE else None}


def plan_schema() -> dict[str, Any]:
    """The JSON Schema of plan files."""
    schema = PlanRecord.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | schema | {"title": "ranksearch plan"}


def write_schema(path: Path) -> None:
    """Publish the JSON Schema: `docs/plan.schema.json` is this function's output."""
    write_text(path, json.dumps(plan_schema(), indent=2, ensure_ascii=False) + "\n")
