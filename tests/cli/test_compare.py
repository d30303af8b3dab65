"""`ranksearch compare`, and completion in the shell."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from ranksearch.planning import read_plan

Invoke = Callable[..., Result]


def test_models_of_several_runs_are_in_one_table(
    finished_run: tuple[Path, Result], invoke: Invoke, tmp_path: Path
) -> None:
    path, _ = finished_run
    other, empty = tmp_path / "other", tmp_path / "empty"
    shutil.copytree(path, other)
    shutil.copytree(path, empty, ignore=shutil.ignore_patterns("compressed", "plan-*"))
    result = invoke("compare", path, other, empty)
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if line.strip().startswith(("run ", "other "))]
    assert len(rows) == 5, "a heading, and two models of each run"
    assert sum(" dense " in line for line in result.stdout.splitlines()) == 1, "the same dense model"
    assert "empty: nothing was delivered" in result.stdout
    record = read_plan(path / "compressed" / "0.4" / "plan.json")
    assert f"{record.scores['test']:.2f} ± {record.scores['test_stderr']:.2f}" in rows[2]
    found = json.loads(invoke("compare", path, other, "--json").stdout)["runs"]
    assert [run["name"] for run in found] == ["run", "other"]
    assert found[0]["models"][1]["cost"] == record.cost


def test_what_is_no_run_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("compare", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: RUN: expected the folder of a run")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("ranksearch comp", {"compare", "compress"}),
        ("ranksearch run --metric fl", {"flops"}),
        ("ranksearch run --export onnx,pt", {"onnx,pt2"}),
        ("ranksearch run --model tor", {"torchvision:"}),
        ("ranksearch run --bud", {"--budget", "--budget-of"}),
    ],
)
def test_the_shell_completes(typed: str, offered: set[str]) -> None:
    words = typed.split()
    asked = {"_RANKSEARCH_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}
    code = "import sys; sys.argv[0] = 'ranksearch'; from ranksearch.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | asked, capture_output=True, text=True, check=False
    )
    assert set(done.stdout.split()) == offered, done.stderr
