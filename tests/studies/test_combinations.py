"""Low rank, int8 and pruning together: the pruning, what is done once, and the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

pytest.importorskip("torch_pruning")
pytest.importorskip("onnxruntime")

import combinations
import pruning
from resnet20 import resnet20
from torch.utils.data import TensorDataset

from ranksearch.tasks import Task


@pytest.fixture
def task() -> Task:
    torch.manual_seed(0)
    data = TensorDataset(torch.randn(48, 3, 32, 32), torch.randint(0, 10, (48,)))
    return Task(resnet20(), data, test=data, calibration_size=24, batch_size=8)


def test_pruning_meets_the_flops_and_leaves_the_residual_stream(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "STEPS", 10)
    before = {name: tuple(p.shape) for name, p in task.model.named_parameters()}
    limit = pruning.flops_of(task, task.model) * 6 // 10
    pruned = pruning.prune(task, task.model, limit)
    assert 0.7 * limit < pruning.flops_of(task, pruned) <= limit
    assert {name: tuple(p.shape) for name, p in task.model.named_parameters()} == before
    widths = {name: m.out_channels for name, m in pruned.named_modules() if isinstance(m, nn.Conv2d)}
    assert all(widths[name] == before[f"{name}.weight"][0] for name in widths if name.endswith("conv2"))
    assert any(widths[name] < before[f"{name}.weight"][0] for name in widths)


def test_each_model_is_measured_once_and_times_are_added(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(combinations, "task_of", lambda *_, **__: task)
    results = tmp_path / "results.json"
    common = ["--data", "d", "--weights", "w", "--out", str(tmp_path), "--results", str(results)]
    combinations.main([*common, "--only", "dense"])
    (row,) = json.loads(results.read_text())
    assert (row["model"], row["epochs"], row["divergence"]) == ("dense", 0, 0.0)
    assert row["int8"]["bytes"] < row["float"]["bytes"]
    monkeypatch.setattr(combinations, "measured", lambda *_: 1 / 0)
    combinations.main([*common, "--only", "dense"])
    monkeypatch.setattr(combinations, "BATCHES", (1,))
    capsys.readouterr()
    combinations.main([*common, "--times"])
    found: dict[str, Any] = json.loads(results.read_text())[0]
    median, low, high = found["int8"]["time"]["1"]
    assert 0 < low <= median <= high
    assert {key: value for key, value in found["int8"].items() if key != "time"} == row["int8"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("| dense | 0 | 269,722 |")
    assert lines[3].startswith("| dense, int8")
    assert f"{median:.2f} ({low:.2f} to {high:.2f})" in lines[3]
