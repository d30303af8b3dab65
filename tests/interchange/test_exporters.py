"""What plan exporters write, and that nothing of a plan gets lost on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from torch import nn

import ranksearch
from ranksearch.errors import InputError
from ranksearch.interchange import PLAN_EXPORTERS, chains_schema, export_of
from ranksearch.planning import PlanRecord, write_plan
from ranksearch.searching import SearchResult
from ranksearch.tasks import Task
from ranksearch.testing import made_up_plan

DOCS = Path(__file__).parents[2] / "docs"
SCHEMA = DOCS / "chains.schema.json"


@pytest.fixture(scope="module")
def result(tiny_task: Task) -> SearchResult:
    return ranksearch.search(tiny_task, 0.6, decompositions=["svd", "spatial_svd"], progress=False)


@pytest.fixture(scope="module")
def record(tiny_task: Task) -> PlanRecord:
    return made_up_plan(tiny_task.model, tiny_task.example, "svd")


def test_chains_follow_the_published_schema(record: PlanRecord) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert schema == chains_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    content = export_of(PLAN_EXPORTERS.get("chains"), record).content
    jsonschema.validate(content, schema)
    content["layers"]["0"]["chain"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema)


@pytest.mark.parametrize("name", PLAN_EXPORTERS.names())
def test_the_page_shows_the_lines_that_the_tests_run(name: str) -> None:
    page = (DOCS / "plans_elsewhere.md").read_text(encoding="utf-8")
    assert PLAN_EXPORTERS.get(name).usage(f"{name}-plan-0.5.json").rstrip() in page
    assert f"| `{name}` |" in page


def test_a_map_of_ranks_holds_nothing_else(record: PlanRecord) -> None:
    assert export_of(PLAN_EXPORTERS.get("ranks"), record).content == {"0": 2, "3": 4, "8": 1}


@pytest.mark.parametrize("name", PLAN_EXPORTERS.names())
def test_bit_widths_are_told_apart_from_the_file(record: PlanRecord, name: str) -> None:
    layers = tuple(x.model_copy(update={"int8": x.name != "3"}) for x in record.layers)
    exporter = PLAN_EXPORTERS.get(name)
    found = export_of(exporter, record.model_copy(update={"layers": layers}))
    assert found.int8 == ("0", "8")
    assert found.content == export_of(exporter, record).content


def test_from_python(tiny_task: Task, result: SearchResult, record: PlanRecord, tmp_path: Path) -> None:
    """The result of a search, or a plan file; the file is what is returned."""
    found = ranksearch.export_plan(result, "chains", tmp_path / "chains.json", task=tiny_task)
    assert json.loads((tmp_path / "chains.json").read_text()) == found.content
    assert found.total == result.plan.cost.params
    factorised = {name for name, own in result.plan.choices.items() if not own.is_dense}
    assert found.ranks.keys() == factorised != set()
    write_plan(tmp_path / "plan.json", record)
    assert ranksearch.export_plan(tmp_path / "plan.json", "ranks").ranks == {"0": (2,), "3": (4,), "8": (1,)}
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["chains.json", "plan.json"]
    with pytest.raises(InputError, match=r"^task: expected the task that the plan was made for, got none"):
        ranksearch.export_plan(result, "chains")
    with pytest.raises(InputError, match=r"Did you mean 'ranks'\?"):
        ranksearch.export_plan(tmp_path / "plan.json", "rank")


def test_a_plan_without_chains_is_refused(record: PlanRecord) -> None:
    """Files of version 1 do not say how layers are strided and padded."""
    layers = tuple(layer.model_copy(update={"chain": None}) for layer in record.layers)
    with pytest.raises(InputError, match=r"^plan, layer 0: expected a plan file of version 2"):
        export_of(PLAN_EXPORTERS.get("ranks"), record.model_copy(update={"layers": layers}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chain": ()}, "plan, layer 3: expected a chain for a kernel of shape"),
        ({"ranks": (3,)}, "plan, layer 3: expected the chain of svd 3, got another one"),
        ({"ranks": (4, 4)}, "plan, layer 3: expected 1 ranks of at most [12], got [4, 4]"),
        ({"form": "odd"}, "plan, layer 3: expected a form of svd"),
        ({"shape": (12, 8, 3)}, "plan, layer 3: expected a chain for a kernel of shape (12, 8, 3)"),
        ({"kind": "linear"}, "plan, layer 3: expected a chain for a kernel"),
        ({"cost": {"flops": 3}}, "plan, layer 3, cost: expected a number of parameters"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(
    record: PlanRecord, change: dict[str, Any], message: str
) -> None:
    """Files come from anywhere: no other compressor is to be told what the plan does not say."""
    layers = [layer.model_copy(update=change) if layer.name == "3" else layer for layer in record.layers]
    with pytest.raises(InputError) as caught:
        export_of(PLAN_EXPORTERS.get("chains"), record.model_copy(update={"layers": tuple(layers)}))
    assert message in str(caught.value)


def test_a_decomposition_that_is_not_known_here_is_a_chain_all_the_same(record: PlanRecord) -> None:
    """A plan may have been made with a decomposition of somebody's own."""
    layers = tuple(x.model_copy(update={"decomposition": "mine"}) for x in record.layers)
    plan = record.model_copy(update={"layers": layers})
    found = {name: export_of(PLAN_EXPORTERS.get(name), plan) for name in PLAN_EXPORTERS}
    assert found["chains"].params == export_of(PLAN_EXPORTERS.get("chains"), record).params
    assert all(len(each.left_out) == 3 for name, each in found.items() if name != "chains")


def test_formats_without_grouped_convolutions_and_lookups_leave_them_out() -> None:
    grouped = nn.Sequential(nn.Conv2d(8, 12, 3, groups=2), nn.Flatten(), nn.Linear(12, 6)).eval()
    plan = made_up_plan(grouped, torch.zeros(1, 8, 3, 3), "svd")
    for name in PLAN_EXPORTERS:
        found = export_of(PLAN_EXPORTERS.get(name), plan)
        told = {each.layer: each.reason for each in found.left_out}
        assert told == ({} if name == "chains" else {"0": "it has no grouped convolutions"}), name

    lookups = nn.Sequential(nn.Embedding(20, 8), nn.Linear(8, 6)).eval()
    plan = made_up_plan(lookups, torch.zeros(1, 4, dtype=torch.long), "svd")
    for name in PLAN_EXPORTERS:
        found = export_of(PLAN_EXPORTERS.get(name), plan)
        assert {each.layer: each.reason for each in found.left_out} == {"0": "it has no embedding"}, name
        assert list(found.ranks) == ["1"]
