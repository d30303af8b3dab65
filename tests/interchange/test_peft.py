"""Adapters of PEFT: on the layers that are meant, of the plan's ranks, with a scale of 1."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ranksearch.interchange import PLAN_EXPORTERS, export_plan_file
from ranksearch.testing import made_up_plan
from ranksearch.testing.plan_exporters import carried_out


class Nested(nn.Module):
    """Names that end in the names of others."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(24, 12), nn.ModuleDict({"fc": nn.Linear(12, 9)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head["fc"](self.fc(x))


@pytest.mark.filterwarnings("ignore")
def test_each_layer_has_its_own_rank(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    model, example = Nested().eval(), torch.zeros(1, 24)
    exporter = PLAN_EXPORTERS.get("peft")
    plan = made_up_plan(model, example, "svd")
    found = export_plan_file(plan, exporter, tmp_path / "peft.json")
    assert found.ranks == {"fc": (4,), "head.fc": (3,)}
    made = carried_out(exporter, tmp_path / "peft.json", model)
    for name, (rank,) in found.ranks.items():
        layer = made.get_submodule(f"base_model.model.{name}")
        assert layer.r == {"default": rank}
        assert layer.scaling == {"default": 1}
    trained = sum(p.numel() for p in made.parameters() if p.requires_grad)
    biases = sum(p.numel() for name, p in model.named_parameters() if name.endswith("bias"))
    assert trained == plan.cost["params"] - biases, "as many as the factors of the plan have"


@pytest.mark.filterwarnings("ignore")
def test_a_layer_whose_name_ends_as_another_one_gets_no_adapter(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    model = Nested().eval()
    plan = made_up_plan(model, torch.zeros(1, 24), "svd")
    layers = tuple(x for x in plan.layers if x.name == "fc")
    exporter = PLAN_EXPORTERS.get("peft")
    export_plan_file(plan.model_copy(update={"layers": layers}), exporter, tmp_path / "peft.json")
    made = carried_out(exporter, tmp_path / "peft.json", model)
    assert type(made.get_submodule("base_model.model.head.fc")) is nn.Linear
