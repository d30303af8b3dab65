"""Plans for other compressors from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from ranksearch.planning import write_plan
from ranksearch.testing import made_up_plan, tiny_task

Invoke = Callable[..., Result]


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    """A plan file with two convolutions as Tucker, and a Linear that stays dense."""
    task = tiny_task()
    path = tmp_path / "plan-0.5.json"
    write_plan(path, made_up_plan(task.model, task.example, "tucker2"))
    return path


def test_a_plan_goes_beside_its_file(invoke: Invoke, plan: Path) -> None:
    """With what each format expresses, and what it leaves out; --quiet keeps that."""
    for quiet in ((), ("--quiet",)):
        result = invoke("export", plan, "--to", "chains,ranks", "--to", "tensorly_torch", *quiet)
        assert result.exit_code == 0, result.output
        names = ("plan-0.5.chains.json", "plan-0.5.ranks.json", "plan-0.5.tensorly_torch.json")
        assert sorted(x.name for x in plan.parent.glob("plan*")) == [*names[:1], "plan-0.5.json", *names[1:]]
        lines = [line for line in result.stdout.splitlines() if line.startswith("left dense")]
        assert lines == [
            "left dense        0: tucker2 1×2, a rank alone stands for svd",
            "left dense        3: tucker2 2×4, a rank alone stands for svd",
        ]
        assert ("from tltorch import" in result.stdout) == (not quiet)
    assert json.loads((plan.parent / "plan-0.5.ranks.json").read_text()) == {}
    found = json.loads((plan.parent / "plan-0.5.tensorly_torch.json").read_text())
    assert found["layers"]["3"] == {"factorization": "Tucker", "rank": [4, 2, 3, 3]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--to: expected what to write the plan for: chains, ranks, "),
        (("--to", "chain"), "got 'chain'. Did you mean 'chains'?"),
        (("--to", "onnx"), "got onnx, a format of models. Export the folder of a run"),
        (("--to", "ranks", "--trust"), "--trust: expected a folder of delivered models, got the plan file"),
        (
            ("--to", "ranks", "--data", "digits"),
            "--data: expected a folder of delivered models, got the plan",
        ),
        (("--to", "a.py:X"), "--to: expected an existing Python file"),
    ],
)
def test_mistakes(arguments: tuple[str, ...], message: str, invoke: Invoke, plan: Path) -> None:
    result = invoke("export", plan, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(list(plan.parent.glob("plan*"))) == 1


def test_a_folder_is_no_plan(invoke: Invoke, plan: Path) -> None:
    result = invoke("export", plan.parent, "--to", "ranks")
    assert result.exit_code == 2
    assert "expected a plan file, got a folder. Name a plan file in it" in result.stderr


def test_nothing_is_written_through_a_link(invoke: Invoke, plan: Path) -> None:
    target = plan.parent / "other"
    target.write_text("mine")
    plan.with_name("plan-0.5.ranks.json").symlink_to(target)
    result = invoke("export", plan, "--to", "ranks")
    assert result.exit_code == 2, result.output
    assert target.read_text() == "mine"
