"""What people type for a budget or a model is understood, or answered with what to type."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from ranksearch.cli.gathering import gathered, written_out

Invoke = Callable[..., Result]


@pytest.mark.parametrize(
    ("typed", "taken"),
    [
        ("--budget 0.5 0.3", "--budget 0.5,0.3"),
        ("--budget 0.5, 0.3, 20%", "--budget 0.5,,0.3,,20%"),
        ("-b 0.5 54k --epochs 0", "-b 0.5,54k --epochs 0"),
        ("--budget=0.5 0.3 -b 0.2 0.1", "--budget=0.5,0.3 -b 0.2,0.1"),
        ("--budget 0.5 --epochs 3 0.3", "--budget 0.5 --epochs 3 0.3"),
        ("--budget 50 20", "--budget 50,20"),
        ("runs/a --budget 0.5 0.3 x", "runs/a --budget 0.5,0.3 x"),
        ("--budget -- 0.5 0.3", "--budget -- 0.5 0.3"),
        ("--epochs 3 4", "--epochs 3 4"),
    ],
)
def test_budgets_after_one_flag(typed: str, taken: str) -> None:
    assert gathered(typed.split()) == taken.split()


def test_a_folder_that_is_there_is_no_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0.2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert gathered(["--budget", "0.4", "0.2"], takes_paths=True) == ["--budget", "0.4", "0.2"]
    assert gathered(["--budget", "0.4", "0.2"]) == ["--budget", "0.4,0.2"]


def test_short_names_of_sources() -> None:
    assert written_out("model", "tv:resnet18:num_classes=10") == "torchvision:resnet18:num_classes=10"
    assert written_out("data", "tv:CIFAR10:data") == "torchvision:CIFAR10:data"
    assert written_out("model", "hf:bert") == "transformers:bert"
    for name, value in (("model", "my.tv:model"), ("weights", "tv:x"), ("model", None), ("model", "digits")):
        assert written_out(name, value) == value


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("--budget 20", "20%"),
        ("--budget 50 20", "50%"),
        ("--budget 0.5 -m resnet18", "Did you mean 'torchvision:resnet18'?"),
        ("--budget 0.5 -m tv:resnet81", "Did you mean 'resnet18'?"),
        ("--budget 0.5 -m tv:resnet18", "then --weights resnet18.pth."),
    ],
)
def test_what_to_type_instead(typed: str, answer: str, invoke: Invoke) -> None:
    result = invoke("run", *typed.split())
    assert result.exit_code == 2
    assert answer in result.stderr
    assert len(result.stderr.splitlines()) <= 2


def test_several_budgets_reach_the_plan(
    finished_run: tuple[Path, Result], invoke: Invoke, tmp_path: Path
) -> None:
    path, _ = finished_run
    result = invoke("plan", "--budget", "0.55", "45%", path, "--quiet")
    assert result.exit_code == 0, result.output
    for asked in ("0.55", "0.45"):
        (path / f"plan-{asked}.json").unlink()
