"""Layers whose kernels do not matter are cut to the least rank, and nothing else is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ranksearch
from ranksearch.costs import Budget, measure_cost
from ranksearch.networks import UNCALLED, copy_model, discover, together, unreached
from ranksearch.planning import LayerWeights, further_plan, model_record, prepare
from ranksearch.planning.tables_record import read_tables, record_of_tables, write_tables
from ranksearch.tasks import Task

QUICK = ranksearch.CompressConfig(epochs=0, iterations=5)


class Heads(nn.Module):
    """Layers that matter, `first` and `head`; one of an output that another option takes; one that nothing calls, one
    whose output is multiplied by zero, one whose activations are all zero, and one that only some images meet."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 12, 3, padding=1), nn.Linear(12, 4)
        self.other = nn.Linear(12, 6)
        self.training_only = nn.Conv2d(12, 12, 3)
        self.scaled, self.scale = nn.Conv2d(12, 12, 3, padding=1), nn.Parameter(torch.zeros(1))
        self.dead = nn.Conv2d(12, 12, 3, padding=1)
        nn.init.constant_(self.dead.bias, -100.0)
        self.expert = nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = torch.relu(self.first(x))
        y = y + self.scale * self.scaled(y) + torch.relu(self.dead(y))
        for k in range(len(x)):
            if float(x[k].mean()) > 0:
                y = torch.cat([y[:k], self.expert(y[k : k + 1]), y[k + 1 :]])
        pooled = y.mean((2, 3))
        return {"out": self.head(pooled), "other": self.other(pooled)}


CUT = {"other", "training_only", "scaled", "dead"}


@pytest.fixture(scope="module")
def task() -> Task:
    torch.manual_seed(0)
    images = torch.randn(120, 3, 6, 6)
    images -= images.mean((1, 2, 3), keepdim=True) + 0.1
    made = Task(Heads(), TensorDataset(images, torch.randint(4, (120,))), calibration_size=96, output="out")
    images[list(made.splits.divergence[1:4])] += 0.2  # these meet the expert, the first one does not
    return made


def with_output(task: Task, output: str) -> Task:
    return Task(Heads(), task.train, calibration_size=96, output=output)


def unused(choices: Mapping[str, Any]) -> set[str]:
    return {name for name, candidate in choices.items() if candidate.unused}


def test_they_are_cut_and_the_outputs_stay(task: Task, tmp_path: Path) -> None:
    budget = 0.64  # the four take more than a third of the parameters: nothing else needs to be cut
    result = ranksearch.search(task, budget=budget)
    plan = result.plan
    assert unused(plan.choices) == CUT
    assert all(c.is_dense or c.unused for c in plan.choices.values())
    assert plan.error == 0
    compressed = ranksearch.compress(task, result, config=QUICK)
    inputs = task.inputs("moments")
    dense = task.outputs(task.laid_out(copy_model(task.model)), inputs)
    assert torch.equal(task.outputs(compressed.model, inputs), dense)
    measured = measure_cost(compressed.model, task.example)
    assert (measured.params, measured.flops) == (plan.cost.params, plan.cost.flops)
    ranksearch.save(tmp_path / "small", task, result, compressed)
    loaded = ranksearch.load(tmp_path / "small", Heads())
    assert torch.equal(task.outputs(task.laid_out(loaded), inputs), dense)
    assert "unused" in result.plan.ranks["dead"]


def test_what_they_leave_goes_to_others(task: Task) -> None:
    result = ranksearch.search(task, budget=0.3)
    assert unused(result.plan.choices) == CUT
    assert all(c.ranks == (1,) or c.ranks == (1, 1) for c in result.plan.choices.values() if c.unused)
    assert any(not c.is_dense and not c.unused for c in result.plan.choices.values())
    compressed = ranksearch.compress(task, result, config=QUICK)
    measured = measure_cost(compressed.model, task.example)
    assert (measured.params, measured.flops) == (result.plan.cost.params, result.plan.cost.flops)
    again = ranksearch.plan(result, 0.64)
    assert unused(again.plan.choices) == CUT


def test_a_layer_that_some_images_meet_stays(task: Task) -> None:
    problem = prepare(task)
    reasons = {layer.name: layer.reason for layer in problem.layers}
    assert reasons == {name: UNCALLED if name == "expert" else None for name in reasons}
    (seen,) = [x for x in discover(task.model, task.example, output=task.output) if x.name == "expert"]
    assert seen.reason == UNCALLED


def test_another_output_uses_other_layers(task: Task) -> None:
    assert {t.layer.name for t in prepare(with_output(task, "other")).tables if t.unused} == CUT - {
        "other"
    } | {"head"}
    both = Task(
        Heads(),
        TensorDataset(task.train[:][0]),
        loss="squared_error",
        calibration_size=96,
        output="out,other",
    )
    assert {t.layer.name for t in prepare(both).tables if t.unused} == CUT - {"other"}


def test_tables_are_in_the_order_of_the_forward_pass_and_go_into_a_file(task: Task, tmp_path: Path) -> None:
    problem = prepare(task, layer_weights=LayerWeights(early=1, early_weight=3.0))
    names = [layer.name for layer in problem.layers if layer.reason is None]
    assert [table.layer.name for table in problem.tables] == names
    assert names.index("scaled") < names.index("head")
    assert {t.layer.name for t in problem.tables if t.weight == 3.0} == {"first"}
    budget = Budget.of(problem.dense, 0.5, "params")
    model = model_record(task.model, task.example)
    record = record_of_tables(problem.offered, model, task_metric="top1", budget=budget, seed=0, options={})
    write_tables(tmp_path / "tables.json", record)
    again = read_tables(tmp_path / "tables.json").content()
    assert again.tables == problem.tables
    assert unused(further_plan(again, budget).plan.choices) == CUT


def test_ignored_layers_and_those_outside_of_what_counts_stay(task: Task) -> None:
    result = ranksearch.search(task, budget=0.75, ignore=["dead", "training_only"])
    assert unused(result.plan.choices) == CUT - {"dead", "training_only"}
    part = ranksearch.search(task, budget=0.9, budget_of="first,dead")
    assert unused(part.plan.choices) == {"dead"}


class Detached(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self[1](torch.relu(self[0](x)).detach())
        return logits


@pytest.mark.parametrize("allocator", ["evbmf", "alds", "fwsvd", "balf", "energy", "uniform"])
def test_methods_of_the_literature_cut_them_too(task: Task, allocator: str) -> None:
    result = ranksearch.search(task, budget=0.5, allocator=allocator, decompositions=["svd"])
    assert (
        CUT - {"other"} <= unused(result.plan.choices) <= CUT
    )  # what is left of the budget may go to any layer
    assert result.plan.cost.params <= result.budget.limit


def test_a_kernel_of_zeros_is_cut_too() -> None:
    """With a bias it still puts something out, which stays."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3))
    nn.init.zeros_(model[1].weight)
    model[1].bias.requires_grad_(False).add_(0.5)
    branch = nn.Sequential(nn.Linear(8, 16), Residual(model[1]), nn.Linear(16, 3))
    data = TensorDataset(torch.randn(96, 8), torch.randint(3, (96,)))
    task = Task(branch, data, calibration_size=80)
    result = ranksearch.search(task, budget=0.6)
    assert unused(result.plan.choices) == {"1.0"}
    assert [c.is_dense for c in result.tables.tables[1].candidates] == [False, True]  # type: ignore[union-attr]


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + self[0](x)  # type: ignore[no-any-return]


def test_what_the_forward_pass_detaches_matters() -> None:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(96, 8), torch.randint(3, (96,)))
    task = Task(Detached(nn.Linear(8, 9), nn.Linear(9, 3)), data, calibration_size=80)
    problem = prepare(task)
    assert [table.layer.name for table in problem.tables] == ["1"]
    assert "no gradient" in (problem.layers[0].reason or "")
    assert unreached(task.model, ["0", "1"], task.example) == []


def test_one_example_tells_what_does_not_reach_the_output(task: Task) -> None:
    names = ["first", "head", "other", "scaled", "dead"]
    assert unreached(task.model, names, task.example, task.output) == ["other"]
    assert unreached(task.model, names, task.example, with_output(task, "other").output) == ["head"]


def test_together_is_found_by_bisection() -> None:
    def holds(names: Sequence[str]) -> bool:
        return "c" not in names and not {"a", "h"} <= {*names}

    assert together([*"abcdefgh"], holds) == ["a", "b", "d", "e", "f", "g"]
    assert together([], holds) == []
