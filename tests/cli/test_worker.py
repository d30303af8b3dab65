"""`ranksearch worker` and `--workers`: a run with a worker of its own, and what is told where nothing can be joined."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from ranksearch.searching.studies import open_storage

from .conftest import QUICK, Invoke


def test_a_run_with_a_worker_delivers_what_it_delivers_alone(
    invoke: Invoke, own_folder: Path, tmp_path: Path
) -> None:
    own = ("--model", f"{own_folder}/own.py:model", "--data", f"{own_folder}/own.py:data", "--budget", "0.5")
    common = (*own, *QUICK, "--sampler", "random", "--export", "none", "--epochs", "0", "--n-trials", "6")
    for name, more in (("alone", ()), ("both", ("--workers", "2"))):
        result = invoke("run", *common, *more, "--out", tmp_path / name)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "both" / "trials.csv").read_text() == (tmp_path / "alone" / "trials.csv").read_text()
    front = [json.loads((tmp_path / name / "front.json").read_text()) for name in ("alone", "both")]
    assert front[0] == front[1]
    weights = [
        (tmp_path / name / "compressed" / "0.5" / "model.safetensors").read_bytes()
        for name in ("alone", "both")
    ]
    assert weights[0] == weights[1]
    assert (tmp_path / "both" / "worker-1.txt").is_file()
    board = optuna.load_study(
        study_name="ranksearch-workers", storage=open_storage(tmp_path / "both" / "study.jsonl")
    )
    assert board.user_attrs["stage"] is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--storage: expected the storage of the search, got none"),
        (("nowhere",), "nowhere: expected the folder of a run, got none"),
        (
            ("--storage", "s.jsonl", "--storage-timeout", "0"),
            "--study-name: expected a search that is under way",
        ),
        (("--storage", "sqlite:///s.db", "--storage-timeout", "0"), "Start a run with --workers on the same"),
    ],
)
def test_nothing_to_join(invoke: Invoke, arguments: tuple[str, ...], told: str) -> None:
    result = invoke("worker", *arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--workers", "2"), "--workers 2: expected --n-trials"),
        (
            ("--workers", "2", "--n-trials", "3", "--allocator", "uniform"),
            "--workers 2: expected --allocator knapsack",
        ),
        (("--workers", "0", "--n-trials", "3"), "--workers: expected a number greater than or equal to 1"),
        (
            ("--workers", "2", "--n-trials", "3", "--cache", "none"),
            "--cache: expected a folder, where there are",
        ),
    ],
)
def test_workers_without_work(invoke: Invoke, tmp_path: Path, arguments: tuple[str, ...], told: str) -> None:
    result = invoke("run", "--budget", "0.5", "--out", tmp_path / "run", *arguments)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()
