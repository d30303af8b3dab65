"""Budgets of time from the command line, on a runtime whose times are computed."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from ranksearch.planning import read_plan
from ranksearch.timing import timer

from .conftest import Invoke

TIMED = (
    "--metric",
    "latency",
    "--runtime",
    "ranksearch.testing:PaperRuntime",
    "--cache",
    "none",
    "--epochs",
    "0",
)


@pytest.fixture
def short(invoke: Invoke, own_folder: Path) -> Any:
    """A run of the small network, with a budget of time."""

    def run(*arguments: object) -> Any:
        own = ("--model", f"{own_folder}/own.py:model", "--data", f"{own_folder}/own.py:data")
        return invoke("run", *own, *TIMED, "--decompositions", "svd,spatial_svd", *arguments)

    return run


def test_a_resumed_run_measures_nothing_again(
    short: Any, invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "r"
    first = short("--budget", "0.7", "--out", out)
    assert first.exit_code == 0, first.output
    assert re.search(r"budget 0\.7: takes 0\.\d+ \(0\.\d+ to 0\.\d+\) of the dense time", first.stdout)
    plan = read_plan(out / "plan-0.7.json")
    for path in (out / "plan-0.7.json", out / "front.json", out / "trials.csv"):
        path.unlink()
    shutil.rmtree(out / "compressed")
    for name in ("dense_seconds", "measure_prices", "rank_multiples", "compare"):
        monkeypatch.setattr(timer, name, None)
    again = invoke("run", "--resume", "--trust", "--out", out)
    assert again.exit_code == 0, again.output
    assert read_plan(out / "plan-0.7.json") == plan


def test_a_run_that_finds_nothing_leaves_nothing(short: Any, tmp_path: Path) -> None:
    out = tmp_path / "r"
    result = short("--budget", "0.01", "--out", out)
    assert result.exit_code == 2
    assert "the fastest of the plans measured takes 0." in result.stderr
    assert not out.exists()


@pytest.mark.parametrize("more", [("--allocator", "balf"), ("--n-trials", "3", "--finetune-trials", "0")])
def test_allocators_and_trials_take_budgets_of_time(
    short: Any, tmp_path: Path, more: tuple[str, ...]
) -> None:
    out = tmp_path / "r"
    result = short("--budget", "0.7", "--out", out, *more)
    assert result.exit_code == 0, result.output
    front = json.loads((out / "front.json").read_text())
    (chosen,) = (found for found in front["plans"] if found["chosen"])
    assert chosen["scores"]["time"] <= 0.7
    assert chosen["cost"]["latency"] <= 0.7 * front["dense"]["latency"]


def test_multiples_are_measured_for_times_alone(
    short: Any, tmp_path: Path, own_folder: Path, invoke: Invoke
) -> None:
    result = invoke("run", "--budget", "0.5", "--rank-multiple", "auto", "--out", tmp_path / "r")
    assert result.exit_code == 2
    assert "--rank-multiple: expected a whole number, got auto. It is measured only" in result.stderr
    assert (
        "expected a number greater than or equal to 1"
        in short("--budget", "0.7", "--rank-multiple", "0").stderr
    )
