"""Contract tests of plan exporters.

Subclass `PlanExporterContract` under a name that begins with `Test`, with a fixture `exporter` that returns yours.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ranksearch.costs import Budget, Kept, measure_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.interchange import (
    ImportedRanks,
    PlanExporter,
    Wanted,
    export_of,
    export_plan_file,
    plan_path,
)
from ranksearch.networks import call_once, copy_model, discover
from ranksearch.planning import DENSE, PlanRecord, make_record


def _images() -> tuple[nn.Module, Tensor]:
    """Convolutions in every geometry that exporters may have trouble with."""
    model = nn.Sequential(
        nn.Conv2d(4, 12, 3, padding=1, bias=False),
        nn.BatchNorm2d(12),
        nn.Conv2d(12, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 14, 3, padding=2, dilation=2),
        nn.Conv2d(14, 12, 3, padding="same"),
        nn.Conv2d(12, 12, (3, 5), stride=(2, 1), padding=(1, 2)),
        nn.Conv2d(12, 12, 3, padding=1, padding_mode="circular"),
        nn.Conv2d(12, 12, 3, padding=1, groups=12),
        nn.Conv2d(12, 20, 1, stride=2),
        nn.Conv2d(20, 20, (3, 1), padding=(1, 0)),
        nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(80, 24), nn.ReLU()),
        nn.Linear(24, 10, bias=False),
    )
    return model.eval(), torch.zeros(1, 4, 16, 16)


def _sequences() -> tuple[nn.Module, Tensor]:
    model = nn.Sequential(
        nn.Conv1d(6, 16, 5, padding=2),
        nn.Conv1d(16, 16, 3, stride=2),
        nn.AdaptiveAvgPool1d(2),
        nn.Flatten(),
        nn.Linear(32, 10),
    )
    return model.eval(), torch.zeros(1, 6, 15)


def _volumes() -> tuple[nn.Module, Tensor]:
    model = nn.Sequential(nn.Conv3d(3, 12, 3, padding=1), nn.Conv3d(12, 12, 3, stride=2, bias=False))
    return model.eval(), torch.zeros(1, 3, 7, 7, 7)


MODELS = {"images": _images, "sequences": _sequences, "volumes": _volumes}
_WAYS = (
    *(("svd", ""), ("spatial_svd", ""), ("tucker2", ""), ("cp", "joint"), ("cp", "axes")),
    *(("tensor_train", "ascending"), ("tensor_train", "descending")),
)
CASES = [
    (inputs, *way)
    for inputs in MODELS
    for way in _WAYS
    if inputs != "sequences" or way in (("svd", ""), ("tucker2", ""), ("cp", "joint"))
]
"""(which model, decomposition, form): layers to which these apply are factorised, all others stay dense."""


def made_up_plan(model: nn.Module, example: Tensor, decomposition: str, form: str = "") -> PlanRecord:
    """A plan that factorises every layer it can in one way, at a third of the largest ranks."""
    layers = discover(model, example)
    known = DECOMPOSITIONS.get(decomposition)
    wanted = {
        layer.name: Wanted(decomposition, form, tuple(max(1, r // 3) for r in known.max_ranks(layer, form)))
        for layer in layers
        if layer.reason is None and form in known.forms(layer)
    }
    dense = measure_cost(model, example)
    plan = ImportedRanks(wanted).plan(layers, dense)
    return make_record(
        model,
        layers,
        plan,
        example=example,
        dense=dense,
        budget=Budget.of(dense, Kept(fraction=1.0)),
        seed=0,
    )


@cache
def _case(inputs: str, decomposition: str, form: str) -> tuple[nn.Module, Tensor, PlanRecord]:
    """A model, an example of its input, and a plan; nothing changes them."""
    torch.manual_seed(0)
    model, example = MODELS[inputs]()
    return model, example, made_up_plan(model, example, decomposition, form)


def carried_out(exporter: PlanExporter, path: Path, model: nn.Module) -> nn.Module:
    """What the exporter's `usage` makes of a copy of a dense model."""
    names = {"model": copy_model(model)}
    exec(compile(exporter.usage(str(path)), "usage", "exec"), names)
    return names["model"]


class PlanExporterContract:
    """Checks of one plan exporter; those that need a package that is missing are skipped."""

    @pytest.fixture(params=CASES, ids="-".join)
    def case(self, request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor, PlanRecord]:
        return _case(*request.param)

    def test_no_layer_is_dropped(
        self, exporter: PlanExporter, case: tuple[nn.Module, Tensor, PlanRecord]
    ) -> None:
        """Every layer of the plan is expressed, dense, or left out with a reason."""
        _, _, plan = case
        found = export_of(exporter, plan)
        told = [*found.ranks, *found.dense, *(each.layer for each in found.left_out)]
        assert sorted(told) == sorted([*(x.name for x in plan.layers), *(x.name for x in plan.dense_layers)])
        planned = {layer.name: layer for layer in plan.layers if layer.decomposition != DENSE}
        assert all(found.ranks[name] == planned[name].ranks for name in found.ranks)
        assert found.ranks.keys() == found.params.keys()
        for each in found.left_out:
            assert each.reason
            assert each.planned.startswith(planned[each.layer].decomposition)

    def test_what_is_written_is_what_was_said(
        self, exporter: PlanExporter, case: tuple[nn.Module, Tensor, PlanRecord], tmp_path: Path
    ) -> None:
        """JSON, the same each time, and of nothing that is about this machine."""
        path = plan_path(tmp_path / "plan.json", exporter)
        first = export_plan_file(case[2], exporter, path)
        content = path.read_text(encoding="utf-8")
        assert json.loads(content) == first.content
        assert export_plan_file(case[2], exporter, path) == first
        assert path.read_text(encoding="utf-8") == content
        assert str(tmp_path) not in content

    @pytest.mark.filterwarnings("ignore")
    def test_the_other_side_makes_the_same_of_it(
        self, exporter: PlanExporter, case: tuple[nn.Module, Tensor, PlanRecord], tmp_path: Path
    ) -> None:
        """As many parameters in every layer and in the whole model; what is not expressed stays as it is."""
        for package in exporter.packages:
            pytest.importorskip(package)
        model, example, plan = case
        path = plan_path(tmp_path / "plan.json", exporter)
        found = export_plan_file(plan, exporter, path)
        made = carried_out(exporter, path, model).eval()
        assert call_once(made, example).shape == call_once(model, example).shape
        assert sum(p.numel() for p in made.parameters()) == found.total
        prefix = exporter.prefix if found.ranks else ""
        for name, count in found.params.items():
            layer = made.get_submodule(f"{prefix}{name}")
            assert sum(p.numel() for p in layer.parameters()) == count, name
        for name in (*found.dense, *(each.layer for each in found.left_out)):
            assert type(made.get_submodule(f"{prefix}{name}")) is type(model.get_submodule(name))

    def test_it_says_what_it_is(self, exporter: PlanExporter) -> None:
        assert exporter.name.isidentifier()
        assert bool(exporter.packages) <= bool(exporter.install)
        assert set(exporter.decompositions) <= set(DECOMPOSITIONS.names())
        compile(exporter.usage("plan.json"), "usage", "exec")
