"""The library in a few calls, as the package's docstring shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import ranksearch
from ranksearch.costs import measure_cost
from ranksearch.errors import BudgetError, InputError, MismatchError
from ranksearch.tasks import Task


def test_from_a_model_to_a_loaded_compressed_one(tiny_task: Task, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in tiny_task.model.state_dict().items()}
    result = ranksearch.search(tiny_task, budget=0.5, n_trials=3, finetune_trials=0)
    compressed = ranksearch.compress(tiny_task, result.plan)
    ranksearch.save(tmp_path / "small", tiny_task, result, compressed)
    loaded = ranksearch.load(tmp_path / "small", tiny_task.model)

    limit = int(0.5 * measure_cost(tiny_task.model, tiny_task.example).params)
    assert measure_cost(loaded, tiny_task.example).params == result.plan.cost.params <= limit
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(loaded(x), compressed.model(x))
    assert all(torch.equal(before[k], v) for k, v in tiny_task.model.state_dict().items())
    assert {type(m) for m in loaded.modules()} <= {type(m) for m in tiny_task.model.modules()}


def test_several_budgets_and_options(tiny_task: Task) -> None:
    results = ranksearch.search(
        tiny_task,
        budget=(0.9, 0.7),
        metric="flops",
        decompositions=["svd"],
        rank_multiple={"*": 2, "8": 1},
        ignore=["0"],
        n_trials=0,
    )
    assert [r.budget.fraction for r in results] == [0.9, 0.7]
    for result in results:
        assert result.budget.metric == "flops"
        assert result.plan.cost.flops <= result.budget.limit
        assert "0" not in result.plan.choices
        assert {c.decomposition for c in result.plan.choices.values()} <= {"svd", "dense"}
        assert all(r % 2 == 0 for r in result.plan.choices["3"].ranks)


def test_a_named_allocator(tiny_task: Task) -> None:
    options = {"decompositions": ["svd"], "n_trials": 3}
    result = ranksearch.search(tiny_task, budget=0.5, allocator="alds", **options)
    assert result.origin == "alds"
    assert {record.origin for record in result.records} == {"analytic", "uniform", "energy", "alds"}
    with pytest.raises(InputError, match=r"allocator: expected knapsack or .*, got 'adls'"):
        ranksearch.search(tiny_task, budget=0.5, allocator="adls")


def test_mistakes(tiny_task: Task) -> None:
    with pytest.raises(BudgetError, match=r"budget: expected at least 0\.0978 \(117 of 1,197 parameters\)"):
        ranksearch.search(tiny_task, budget=0.01, n_trials=0)
    with pytest.raises(InputError, match="decompositions: expected svd or"):
        ranksearch.search(tiny_task, budget=0.5, decompositions=["tucker"])
    with pytest.raises(InputError, match=r"budget: expected a fraction to keep .*, got 'half'"):
        ranksearch.search(tiny_task, budget="half")
    with pytest.raises(InputError, match=r"rank_multiple: expected a whole number, 1 or more, got 8\.5"):
        ranksearch.search(tiny_task, budget=0.5, rank_multiple=8.5)  # type: ignore[call-overload]
    other = Task(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), tiny_task.train, calibration_size=96)
    plan = ranksearch.search(tiny_task, budget=0.5, n_trials=0).plan
    with pytest.raises(MismatchError, match=r"layer .*: expected a layer of the model"):
        ranksearch.compress(other, plan)


def test_one_name_alone_is_as_good_as_a_list(tiny_task: Task) -> None:
    alone = ranksearch.search(tiny_task, budget=0.5, decompositions="svd", ignore="8", protect_early=[1, 2.0])
    several = ranksearch.search(tiny_task, 0.5, decompositions=["svd"], ignore=["8"], protect_early=(1, 2.0))
    assert alone.plan == several.plan
    assert "8" not in alone.plan.choices


def test_names_are_there_and_torch_waits() -> None:
    for name in ranksearch.__all__:
        assert getattr(ranksearch, name) is not None
    assert callable(ranksearch.search)
    assert callable(ranksearch.compress)
    with pytest.raises(AttributeError, match="No ranksearch attribute compres"):
        _ = ranksearch.compres
    code = "import sys, ranksearch, ranksearch.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
