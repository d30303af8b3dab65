"""`ranksearch doctor`: one line for each check, an exit code, an object for programs."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from typer.testing import Result

import ranksearch.runs.doctor
from ranksearch.cache import Cache
from ranksearch.cli.endings import USER_MISTAKE

Invoke = Callable[..., Result]


def lines(result: Result) -> dict[str, tuple[str, str]]:
    """By check, how it ended and what was told."""
    parts = (line.split(": ", 2) for line in result.output.splitlines())
    return {name: (label, told) for label, name, told in parts}


def test_all_is_well(invoke: Invoke, tmp_path: Path) -> None:
    storage = tmp_path / "study.jsonl"
    given = ("--data", "digits", "--cache", tmp_path / "cache", "--threads", "1")
    result = invoke("doctor", *given, "--storage", storage)
    assert result.exit_code == 0, result.output
    found = lines(result)
    assert {"installation", "threads", "device", "cache", "storage", "data"} <= found.keys()
    assert f"torch {torch.__version__.partition('+')[0]}" in found["installation"][1]
    assert found["storage"][0] == "ok"
    assert found["data"] == ("ok", "digits: 1,257 training, 180 validation, 360 test examples; 10 classes")
    assert "0 entries" in found["cache"][1]
    assert not storage.exists()
    assert [*(tmp_path / "cache").iterdir()] == []


def test_nothing_is_checked_that_is_not_named(invoke: Invoke) -> None:
    found = lines(invoke("doctor"))
    assert found["data"] == ("not checked", "none is named: --data")
    assert found["storage"] == ("not checked", "none is named: --storage")
    assert lines(invoke("doctor", "--cache", "none"))["cache"] == ("not checked", "nothing is kept")


def test_what_has_failed_leaves_the_others_checked(invoke: Invoke, tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    for key in ("0" * 32, "1" * 32):
        cache.put(key, {"x": torch.ones(4)}, None)
    broken = cache.path("1" * 32)
    broken.write_bytes(broken.read_bytes()[:-1] + b"\1")
    (tmp_path / "s.db").write_text("no database")
    (tmp_path / "train").mkdir()
    given = (
        "--cache",
        tmp_path / "cache",
        "--storage",
        "sqlite:///s.db",
        "--data",
        f"imagefolder:{tmp_path}",
    )
    result = invoke("doctor", *given, "--threads", "10000", "--json")
    assert result.exit_code == USER_MISTAKE
    assert "Traceback" not in result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["passed"] is False
    told = {check["name"]: check["told"] for check in answer["checks"] if check["passed"] is False}
    assert told.keys() == {"cache", "storage", "data", "threads"}
    assert "expected 2 entries that match their checksums, got 1 that do not" in told["cache"]
    assert told["storage"].startswith("--storage: expected an RDB URL that opens, got sqlite:///")
    assert told["threads"].startswith("--threads: expected at most ")
    assert broken.is_file()


def test_a_folder_that_cannot_be_written_to(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = invoke("doctor", "--cache", tmp_path / "file")
    assert result.exit_code == USER_MISTAKE
    assert lines(result)["cache"][0] == "failed"


def test_a_package_that_is_too_old(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    version = ranksearch.runs.doctor.metadata.version
    monkeypatch.setattr(
        ranksearch.runs.doctor.metadata,
        "version",
        lambda name: "0.0.1" if name == "optuna" else version(name),
    )
    result = invoke("doctor")
    assert result.exit_code == USER_MISTAKE
    label, told = lines(result)["installation"]
    assert label == "failed"
    assert told.startswith("optuna: expected >=")
    assert "got 0.0.1. pip install --upgrade optuna" in told


def test_a_storage_that_loses_what_it_is_given(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = optuna.study.Study.tell

    def told(self: optuna.Study, *given: Any, **more: Any) -> Any:
        found = tell(self, *given, **more)
        with sqlite3.connect(tmp_path / "s.db") as database:
            database.execute("delete from trial_user_attributes")
        return found

    monkeypatch.setattr(optuna.study.Study, "tell", told)
    result = invoke("doctor", "--storage", f"sqlite:///{tmp_path}/s.db")
    assert lines(result)["storage"][0] == "failed"
    assert "expected the trial that was written" in lines(result)["storage"][1]


def test_the_password_of_a_storage_is_not_shown(invoke: Invoke) -> None:
    result = invoke("doctor", "--storage", "postgresql+psycopg://me:s3cret-word@127.0.0.1:1/x")
    assert result.exit_code == USER_MISTAKE
    assert "s3cret-word" not in result.output
