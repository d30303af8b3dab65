"""The size of a weights file: what a plan predicts, what a built model has, and what lies on the disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ranksearch.compression import WEIGHTS_FILE, save_compressed
from ranksearch.costs import Budget, Cost, chain_cost, layer_cost, measure_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import BudgetError, InputError
from ranksearch.networks import discover
from ranksearch.planning import Candidate, CandidateConfig, Plan, make_record, prepare, skeleton
from ranksearch.searching import SearchSettings, search
from ranksearch.tasks import Task

METRICS = ("params", "flops", "bytes")
EXAMPLE = torch.zeros(1, 3, 8, 8)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten(),
        nn.Linear(8 * 16, 4), nn.Linear(4, 4), nn.Linear(4, 4),
    ).eval()  # fmt: skip


def tensors_in(path: Path) -> int:
    """Bytes of a safetensors file after its header, whose length the first eight bytes say."""
    content = path.read_bytes()
    return len(content) - 8 - int.from_bytes(content[:8], "little")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_what_a_plan_predicts_is_what_the_file_holds(dtype: torch.dtype, tmp_path: Path) -> None:
    model = network().to(dtype)
    model[7].weight = model[6].weight
    example = EXAMPLE.to(dtype)
    layers = discover(model, example)
    dense = measure_cost(model, example, METRICS)
    size = dtype.itemsize
    norm = 4 * 8 * size + 8  # weight, bias, mean and variance; the counter has 64 bits
    assert dense.of("bytes") == norm + size * (216 + 584 + 516 + 20 + 4), "the tied weight counts once"
    choices, cost = {}, dense
    for layer in layers:
        if layer.reason is None:
            found = layer_cost(layer, METRICS)
            assert found.of("bytes") == size * found.params
            chain = DECOMPOSITIONS.get("svd").chain(layer, "", (2,))
            choices[layer.name] = Candidate("svd", "", (2,), chain_cost(layer, chain, METRICS), 0.0)
            cost = cost - found + choices[layer.name].cost
    assert choices.keys() == {"0", "3", "5"}
    plan = Plan(choices, cost)
    built = skeleton(model, layers, plan)
    assert measure_cost(built, example, METRICS) == cost
    budget = Budget.of(dense, 0.9, "bytes")
    record = make_record(model, layers, plan, example=example, dense=dense, budget=budget, seed=0)
    save_compressed(tmp_path, built, record)
    assert tensors_in(tmp_path / WEIGHTS_FILE) == record.cost["bytes"] == cost.of("bytes")


def test_what_the_file_leaves_out_does_not_count() -> None:
    model = network()
    before = measure_cost(model, EXAMPLE, METRICS)
    model.register_buffer("scratch", torch.zeros(1000), persistent=False)
    assert measure_cost(model, EXAMPLE, METRICS) == before
    model.register_buffer("table", torch.zeros(1000, dtype=torch.int16))
    assert measure_cost(model, EXAMPLE, METRICS) - before == Cost(params=0, flops=0, bytes=2000)


def test_a_budget_of_bytes(tiny_task: Task) -> None:
    problem = prepare(tiny_task, config=CandidateConfig(decompositions=("svd",), metrics=METRICS))
    dense = problem.dense.of("bytes")
    settings = SearchSettings(budgets=("0.6", f"{0.6 * dense}B"), metric="bytes", limits=(("flops", "0.9"),))  # type: ignore[arg-type]
    share, amount = search(problem, settings)
    assert share.plan.cost == amount.plan.cost
    assert share.plan.cost.of("bytes") <= 0.6 * dense
    assert share.plan.cost.flops <= 0.9 * problem.dense.flops
    assert measure_cost(problem.build(share.plan), tiny_task.example, METRICS) == share.plan.cost
    with pytest.raises(BudgetError, match=r"at least \d+B \(0\.000\d+ of 0\.004964 MB\)"):
        search(problem, replace(settings, budgets=("100B",)))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a size, such as 1MB"):
        search(problem, replace(settings, budgets=("1k",)))  # type: ignore[arg-type]
