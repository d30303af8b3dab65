"""The library in a few calls, as the package's docstring shows it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import ranksearch
from ranksearch.compression import outputs_apart
from ranksearch.costs import measure_cost
from ranksearch.errors import BudgetError, InputError, MismatchError
from ranksearch.planning import read_plan
from ranksearch.tasks import Task


def test_from_a_model_to_a_loaded_compressed_one(tiny_task: Task, tmp_path: Path) -> None:
    before = {k: v.clone() for k, v in tiny_task.model.state_dict().items()}
    result = ranksearch.search(tiny_task, budget=0.5, n_trials=3, finetune_trials=0)
    compressed = ranksearch.compress(tiny_task, result.plan)
    taken = ranksearch.footprint(tiny_task, compressed, latency_batch=2)
    ranksearch.save(tmp_path / "small", tiny_task, result, compressed, footprint=taken)
    assert read_plan(tmp_path / "small" / "plan.json").footprint == taken
    assert taken.time is not None
    assert (taken.batch, taken.time.batch, taken.time.runtime) == (2, 2, "torch")
    assert taken.dense.bytes - taken.compressed.bytes == 4 * (
        measure_cost(tiny_task.model, tiny_task.example).params - result.plan.cost.params
    )
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


def test_the_smallest_model_within_a_drop(tiny_task: Task, tmp_path: Path) -> None:
    task = replace(tiny_task, validation=tiny_task.train, test=tiny_task.train)
    few = {"decompositions": "svd", "config": ranksearch.CompressConfig(epochs=0, iterations=5)}
    found = ranksearch.smallest(task, max_drop=30, **few)
    assert found.kept
    assert found.drop.mean <= found.bound <= 30
    assert found.bound == found.drop.upper(1 - 0.025 / 6)
    assert found.looks[found.result.budget.name] == (found.drop, found.bound)
    assert found.test_drop == found.drop  # of the same images here
    beside = ranksearch.behaviour(task, found.compressed, "validation")
    assert beside is not None
    assert beside.drop == found.drop
    assert beside.predictions is not None
    ranksearch.save(tmp_path / "small", task, found.result, found.compressed)
    record = read_plan(tmp_path / "small" / "plan.json")
    assert record.outputs is not None
    assert outputs_apart(ranksearch.load(tmp_path / "small", task.model), record.outputs, (1, 3, 8, 8)) < 1e-6
    with pytest.raises(InputError, match="max_drop: expected labelled validation data, got none"):
        ranksearch.smallest(replace(tiny_task, splits=None, val_split=0.0), max_drop=5)


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
    with pytest.raises(AttributeError, match="no attribute 'compres'"):
        _ = ranksearch.compres
    code = "import sys, ranksearch, ranksearch.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_another_budget_of_the_same_search(tiny_task: Task, tmp_path: Path) -> None:
    options = {"decompositions": ["svd"], "limits": {"flops": 0.9}}
    first = ranksearch.search(tiny_task, budget=0.5, **options)
    further = ranksearch.plan(first, "40%")
    assert further.plan == ranksearch.search(tiny_task, budget=0.4, **options).plan
    assert further.budget.also == first.budget.also
    assert ranksearch.plan(further, 0.5).plan == first.plan
    assert ranksearch.plan(first, 0.6, metric="flops").budget.also == ()
    compressed = ranksearch.compress(tiny_task, further.plan)
    ranksearch.save(tmp_path / "small", tiny_task, further, compressed)
    assert ranksearch.load(tmp_path / "small", tiny_task.model) is not None
    with pytest.raises(InputError, match=r"nowhere.tables.json: expected a tables file"):
        ranksearch.plan(tmp_path / "nowhere", 0.4)


def test_what_a_newcomer_writes_is_taken(tiny_task: Task) -> None:
    """Arrays as data, a result in place of its plan, settings as keywords, a compressed model called as it is."""
    x, y = torch.randn(60, 3, 8, 8), torch.randint(0, 4, (60,))
    options = {"test": (x, y), "calibration_size": 30}
    tasks = [
        ranksearch.Task(tiny_task.model, data, **options)  # type: ignore[arg-type]
        for data in ((x, y), (x.double().numpy(), y.numpy()), torch.utils.data.TensorDataset(x, y))
    ]
    assert tasks[0].splits == tasks[1].splits == tasks[2].splits
    for task in tasks:
        assert torch.equal(task.inputs("moments"), tasks[2].inputs("moments"))  # type: ignore[arg-type]
    assert len(ranksearch.Task(tiny_task.model, x, calibration_size=30).splits.finetune) == 27
    with pytest.raises(InputError, match=r"train data: expected as many targets as inputs.*\(60,.*\(5,\)"):
        ranksearch.Task(tiny_task.model, (x, y[:5]))  # type: ignore[arg-type]

    result = ranksearch.search(tasks[0], budget=0.5, progress=False)
    short = ranksearch.compress(tasks[0], result, epochs=0)
    long = ranksearch.compress(tasks[0], result.plan, config=ranksearch.CompressConfig(epochs=0))
    assert torch.equal(short(x), long.model(x))
    assert short.finetuned is None
    with pytest.raises(InputError, match=r"plan: expected a plan, or the result of one search, got list"):
        ranksearch.compress(tasks[0], [result])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Did you mean `epochs`"):
        ranksearch.compress(tasks[0], result, epoch=3)  # type: ignore[call-arg]


def test_progress_of_both_long_calls_is_told(tiny_task: Task) -> None:
    seen: dict[str, tuple[int, int]] = {}

    def progress(stage: str, done: int, total: int, best: float | None = None) -> None:
        seen[stage] = done, total

    result = ranksearch.search(tiny_task, budget=0.5, progress=progress)
    assert seen
    assert all(done == total for done, total in seen.values())
    before = len(seen)
    ranksearch.compress(tiny_task, result, epochs=1, progress=progress)
    assert len(seen) > before
    assert seen["fine-tuning"][0] == seen["fine-tuning"][1]


def test_values_show_what_matters_in_a_few_lines(tiny_task: Task) -> None:
    result = ranksearch.search(tiny_task, budget=0.5)
    compressed = ranksearch.compress(tiny_task, result, epochs=0)
    found = ranksearch.behaviour(tiny_task, compressed, "validation")
    for value in (tiny_task, result, result.plan, compressed, found):
        lines = repr(value).split("\n")
        assert lines[0] == type(value).__name__
        assert 3 <= len(lines) <= 9
        assert value._repr_html_().count("<tr>") == len(lines) - 1  # type: ignore[union-attr]
    assert f"{result.plan.cost.params:,} parameters" in repr(result)
    named = replace(tiny_task, model_name="<script>\x1b[31m")
    assert "<script>" not in named._repr_html_()
    assert "\x1b" not in repr(named) + named._repr_html_()


def test_the_front_of_a_result(tiny_task: Task) -> None:
    result = ranksearch.search(tiny_task, budget=0.5, rank_multiple=1)
    rows = result.front()
    assert rows[-1] == {"budget": 1.0, **tiny_task_cost(tiny_task), "error": 0.0}
    assert [row["params"] for row in rows] == sorted(row["params"] for row in rows)
    for row in rows[:: max(1, len(rows) // 5)]:
        if row["budget"] < 1:
            same = ranksearch.plan(result, f"{row['params'] / 1000:.3f}k")
            assert same.plan.error <= row["error"] * (1 + 1e-9)
    (axis,) = result.plot().axes
    assert len(axis.lines) == 2
    with pytest.raises(InputError, match="one without tables"):
        replace(result, tables=None).front()


def tiny_task_cost(task: Task) -> dict[str, int]:
    return dict(measure_cost(task.model, task.example).amounts)


def test_the_package_names_itself_and_what_was_meant() -> None:
    from importlib.metadata import version

    assert ranksearch.__version__ == version("ranksearch")
    assert {name for name in dir(ranksearch) if not name.startswith("_")} == set(ranksearch.__all__)
    with pytest.raises(AttributeError, match=r"no attribute 'serach'\. Did you mean 'search'"):
        _ = ranksearch.serach  # type: ignore[attr-defined]
    assert ranksearch.Task is Task
