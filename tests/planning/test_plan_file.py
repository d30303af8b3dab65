from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pydantic
import pytest
import torch
from torch import nn

from ranksearch.costs import Budget, Kept, chain_cost, layer_cost, measure_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, MismatchError
from ranksearch.networks import Layer, discover
from ranksearch.planning import (
    Candidate,
    Plan,
    PlanRecord,
    check_plan,
    make_record,
    read_plan,
    skeleton,
    to_plan,
    write_plan,
)
from ranksearch.planning.plan import DENSE
from ranksearch.planning.plan_file import chain_record, model_digest, write_schema

SCHEMA = Path(__file__).parents[2] / "docs" / "plan.schema.json"
EXAMPLE = torch.zeros(1, 3, 8, 8)


def make_model(width: int = 4, stride: int = 1, norm: bool = False, extra: bool = False) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1, stride=stride),
        nn.BatchNorm2d(width) if norm else nn.ReLU(),
        nn.Conv2d(width, width, 3, groups=width),
        nn.Conv2d(width, width, 1) if extra else nn.Identity(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, 5),
    )


def plan_for(layers: tuple[Layer, ...], example: torch.Tensor = EXAMPLE) -> Plan:
    conv, head = (x for x in layers if x.reason is None)
    chain = DECOMPOSITIONS.get("tucker2").chain(conv, "", (2, 3))
    chosen = Candidate("tucker2", "", (2, 3), chain_cost(conv, chain), 0.125)
    dense = measure_cost(make_model(), example)
    choices = {conv.name: chosen, head.name: Candidate(DENSE, "", (), layer_cost(head), 0.0)}
    return Plan(choices, dense - layer_cost(conv) + chosen.cost)


def make_plan_record(**changes: Any) -> PlanRecord:
    model = make_model()
    layers = discover(model, EXAMPLE)
    options: dict[str, Any] = {
        "example": EXAMPLE,
        "dense": measure_cost(model, EXAMPLE),
        "budget": Budget.of(measure_cost(model, EXAMPLE), 0.5, "params", (("flops", Kept(amount=7_000)),)),
        "seed": 7,
        "model_name": "digits",
        "scores": {"error": 0.125, "divergence": float("inf"), "accuracy": None},
        "options": {"space": "sensitivities", "rank_multiple": [["*", 8]], "timeout": None},
    }
    return make_record(model, layers, plan_for(layers), **(options | changes))


def write_json(path: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A plan file with something changed in it."""
    write_plan(path, make_plan_record())
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


# --- round trips


def test_a_written_plan_comes_back(tmp_path: Path) -> None:
    record = make_plan_record()
    write_plan(tmp_path / "new" / "plan.json", record)
    again = read_plan(tmp_path / "new" / "plan.json")
    assert again == record
    assert to_plan(again) == plan_for(discover(make_model(), EXAMPLE))
    assert to_plan(again).key == to_plan(record).key


def test_what_a_record_holds() -> None:
    record = make_plan_record()
    conv, head = record.layers
    assert (conv.name, conv.kind, conv.shape, conv.ranks) == ("0", "conv2d", (4, 3, 3, 3), (2, 3))
    assert (head.name, head.decomposition, head.ranks, head.error) == ("6", "dense", (), 0.0)
    assert [(x.name, x.reason) for x in record.dense_layers] == [("2", "depthwise convolution")]
    assert record.model.input_shape == (1, 3, 8, 8)
    assert record.scores == {"error": 0.125, "divergence": None, "accuracy": None}
    assert record.versions["torch"] == torch.__version__.partition("+")[0] or "+" in record.versions["torch"]
    assert {"ranksearch", "optuna", "tensorly", "numpy", "python"} <= record.versions.keys()


def test_a_plan_file_is_strict_json_with_numbers_on_one_line(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", make_plan_record())
    text = (tmp_path / "plan.json").read_text()
    assert '"shape": [4, 3, 3, 3]' in text
    assert "Infinity" not in text
    assert "NaN" not in text
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_numbers_that_are_not_finite_are_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(path, make_plan_record())
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_plan(path, make_plan_record(options={"lr": float("nan")}))
    nan = Budget("params", Kept(fraction=float("nan")), 10, 5)
    with pytest.raises(pydantic.ValidationError, match="finite"):
        make_plan_record(budget=nan)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_record_holds_the_chain_of_each_layer_as_plain_layers() -> None:
    conv, head = make_plan_record().layers
    assert head.chain == ()
    assert conv.chain is not None
    first, core, last = conv.chain
    assert (first.in_channels, first.out_channels, first.kernel_size) == (3, 2, (1, 1))
    assert (core.kernel_size, core.padding, core.axes, core.bias) == ((3, 3), (1, 1), (0, 1), False)
    assert (last.in_channels, last.out_channels, last.axes, last.bias) == (3, 4, (), True)


@pytest.mark.parametrize("name", ["svd", "spatial_svd", "tucker2", "cp", "tensor_train"])
@pytest.mark.parametrize("padding", [1, "same"])
def test_the_chain_of_a_record_builds_the_module(name: str, padding: int | str) -> None:
    """From the record alone, without our decompositions, come the layers that `build` makes."""
    stride = 1 if padding == "same" else 2
    model = nn.Sequential(nn.Conv2d(6, 8, 3, stride=stride, padding=padding, padding_mode="reflect"))
    example = torch.randn(2, 6, 8, 8)
    (layer,) = discover(model, example)
    decomposition = DECOMPOSITIONS.get(name)
    for form in decomposition.forms(layer):
        ranks = tuple(max(1, r // 2) for r in decomposition.max_ranks(layer, form))
        candidate = Candidate(name, form, ranks, layer_cost(layer), 0.0)
        plan = Plan({layer.name: candidate}, layer_cost(layer))
        own = chain_record(layer, candidate)
        built = skeleton(model, (layer,), plan)[0]
        again = nn.Sequential(
            *(
                nn.Conv2d(**{k: v for k, v in factor.model_dump().items() if k not in ("kind", "axes")})
                for factor in own
            )
        )
        again.load_state_dict(built.state_dict())
        torch.testing.assert_close(again(example), built(example))
    assert {axis for factor in own for axis in factor.axes} == {0, 1}


VERSION_1 = {
    "version": 1,
    "budget": 0.5,
    "metric": "params",
    "limit": 100,
    "dense": {"params": 181, "flops": 9},
    "cost": {"params": 90, "flops": 8},
}


def test_files_of_version_1_are_read(tmp_path: Path) -> None:
    """As they were written: parameters and FLOPs of a layer beside its name, no chains."""
    write_plan(tmp_path / "plan.json", make_plan_record())
    data = json.loads((tmp_path / "plan.json").read_text())
    for layer in data["layers"]:
        layer |= layer.pop("cost")
        del layer["chain"]
    del data["asked"], data["limits"]
    (tmp_path / "old.json").write_text(json.dumps(data | VERSION_1))
    record = read_plan(tmp_path / "old.json")
    assert (record.version, record.asked, record.limits) == (2, "0.5", ())
    assert (record.cost, record.dense) == (VERSION_1["cost"], VERSION_1["dense"])
    assert [layer.chain for layer in record.layers] == [None, ()]
    assert to_plan(record).choices == to_plan(make_plan_record()).choices


# --- the schema


def test_the_published_schema_is_up_to_date(tmp_path: Path) -> None:
    write_schema(tmp_path / "schema.json")
    assert (tmp_path / "schema.json").read_text() == SCHEMA.read_text()


def test_a_written_plan_follows_the_schema(tmp_path: Path) -> None:
    write_plan(tmp_path / "plan.json", make_plan_record())
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    data = json.loads((tmp_path / "plan.json").read_text())
    jsonschema.validate(data, schema)
    for broken in ({"budget": 1.5}, {"metric": 3}, {"surplus": 1}, {"version": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(data | broken, schema)


# --- errors of reading


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(budget=1.5), "budget: expected a number less than or equal to 1, got 1.5."),
        (lambda d: d.update(budget="half"), "budget: expected a valid number, got 'half'."),
        (lambda d: d.update(metric="ms"), "expected a plan that makes sense, got a cost without ms."),
        (lambda d: d.pop("seed"), "seed: expected a value, got none."),
        (lambda d: d.update(note="x"), "note: expected no such field, got 'x'."),
        (
            lambda d: d["layers"][0].update(ranks=[2, 0]),
            "layers[0].ranks[1]: expected a number greater than 0, got 0.",
        ),
        (
            lambda d: d["layers"][0].update(ranks=[2.5, 1]),
            "layers[0].ranks[0]: expected a valid integer, got 2.5.",
        ),
        (
            lambda d: d["layers"][0].update(ranks=[]),
            "expected a plan that makes sense, got ranks for tucker2: [].",
        ),
        (
            lambda d: d["layers"][1].update(ranks=[4]),
            "expected a plan that makes sense, got ranks for dense: [4].",
        ),
        (
            lambda d: d["layers"][1].update(name="0"),
            "expected a plan that makes sense, got layer 0 named twice.",
        ),
        (lambda d: d["model"].update(digest="abc"), "model.digest: expected a text that matches"),
        (
            lambda d: d["dense"].update(params=-1),
            "dense.params: expected a number greater than or equal to 0, got -1.",
        ),
        (lambda d: (d.pop("seed"), d.pop("limit")), "And 1 more."),
        (
            lambda d: d.update(version=3),
            "version: expected 2, or 1 from before, got 3. Another version of ranksearch wrote it",
        ),
        (lambda d: d.pop("version"), "version: expected 2, or 1 from before, got none."),
        (lambda d: d.update(version=True), "version: expected 2, or 1 from before, got True."),
    ],
)
def test_broken_fields_are_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    path = write_json(tmp_path / "plan.json", change)
    with pytest.raises(InputError) as caught:
        read_plan(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_plans(tmp_path: Path) -> None:
    missing, folder, broken = tmp_path / "no.json", tmp_path, tmp_path / "broken.json"
    for path in (missing, folder):
        with pytest.raises(InputError, match=r"expected a plan file, got (No such file|Is a directory)"):
            read_plan(path)
    for content, message in {
        b"{": "expected JSON, got Expecting property name",
        b"[]": "expected a JSON object, got list",
        b'{"budget": NaN}': "expected JSON, got NaN, which is no JSON number",
        b"\xff\xfe": "got bytes that are not UTF-8",
    }.items():
        broken.write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_plan(broken)
        assert message in str(caught.value)


# --- another model


def test_a_plan_fits_its_model_whatever_the_weights() -> None:
    model = make_model()
    check_plan(make_plan_record(), discover(model, EXAMPLE), model)


def changed(record: PlanRecord, **layer: Any) -> PlanRecord:
    """The record with its first layer changed."""
    first = record.layers[0].model_copy(update=layer)
    return record.model_copy(update={"layers": (first, *record.layers[1:])})


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"name": "stem"}, "plan, layer stem: expected a layer of the model, got none of that name."),
        (
            {"shape": (4, 3, 5, 5)},
            "plan, layer 0: expected a conv2d with a kernel of shape (4, 3, 5, 5), got a conv2d",
        ),
        ({"kind": "conv1d"}, "plan, layer 0: expected a conv1d"),
        ({"ranks": (2, 5)}, "plan, layer 0: expected 2 ranks of at most [3, 4], got [2, 5]."),
        ({"ranks": (2,)}, "plan, layer 0: expected 2 ranks of at most [3, 4], got [2]."),
        ({"decomposition": "magic"}, "plan, layer 0: expected one of svd, "),
        ({"form": "axes"}, "plan, layer 0: expected a form of tucker2 among [''], got 'axes'."),
    ],
)
def test_the_first_mismatch_is_named(layer: dict[str, Any], message: str) -> None:
    model = make_model()
    with pytest.raises(MismatchError) as caught:
        check_plan(changed(make_plan_record(), **layer), discover(model, EXAMPLE), model)
    assert message in str(caught.value)
    assert str(caught.value).endswith("Is this the model that the plan was made for?")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (make_model(width=6), r"layer 0: expected a conv2d with a kernel of shape \(4, 3, 3, 3\)"),
        (make_model(extra=True), r"layer 3: expected a model without it"),
        (make_model(stride=2), r"model: expected one with digest .* stride or padding differs"),
        (make_model(norm=True), r"model: expected one with digest"),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1)), r"layer 6: expected a layer of the model"),
    ],
)
def test_other_models(model: nn.Module, message: str) -> None:
    with pytest.raises(MismatchError, match=message):
        check_plan(make_plan_record(), discover(model, EXAMPLE), model)


def test_a_layer_that_has_to_stay_dense_cannot_be_planned() -> None:
    model = make_model()
    layers = tuple(
        replace(x, reason="it has hooks") if x.name == "0" else x for x in discover(model, EXAMPLE)
    )
    with pytest.raises(
        MismatchError, match=r"layer 0: expected one that can be factorised, got it has hooks"
    ):
        check_plan(make_plan_record(), layers, model)


def test_layers_that_the_plan_ignored_may_be_factorisable() -> None:
    model = make_model()
    record = make_plan_record()
    head = record.layers[1]
    ignored = record.model_copy(
        update={
            "layers": record.layers[:1],
            "dense_layers": (
                *record.dense_layers,
                type(record.dense_layers[0])(name=head.name, reason="ignored"),
            ),
        }
    )
    check_plan(ignored, discover(model, EXAMPLE), model)


def test_the_digest_depends_on_shapes_and_geometry_not_on_values() -> None:
    assert model_digest(make_model()) == model_digest(make_model())
    others = [make_model(width=6), make_model(stride=2), make_model(norm=True), make_model(extra=True)]
    assert len({model_digest(m) for m in (make_model(), *others)}) == 5
