"""What a run tells trackers, and that a tracker that fails, or draws random numbers, does it no harm."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import ranksearch
from ranksearch.cli.app import app
from ranksearch.planning import read_plan
from ranksearch.tasks import Task
from ranksearch.testing import Held
from ranksearch.tracking import TRACKERS, TrackedRun, Tracker, Tracking

pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")  # MLflow's own, of SQLAlchemy


class Notebook(Tracker):
    """Keeps everything in memory, and draws a random number whenever it is spoken to."""

    name = "notebook"

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []
        self.fails_at = 10**9

    def open(self, folder: Path) -> TrackedRun:
        self.hear("open", folder)
        return Page(self)

    def hear(self, kind: str, what: Any) -> None:
        torch.rand(3)
        if len(self.said) >= self.fails_at:
            raise ConnectionError("the server is away")
        self.said.append((kind, what))

    def metrics(self, prefix: str = "") -> list[tuple[str, float, int | None]]:
        found = [what for kind, what in self.said if kind == "metrics"]
        return [(k, v, step) for values, step in found for k, v in values.items() if k.startswith(prefix)]


class Page(TrackedRun):
    def __init__(self, notebook: Notebook) -> None:
        self._notebook = notebook

    def parameters(self, values: Mapping[str, str]) -> None:
        self._notebook.hear("parameters", dict(values))

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        self._notebook.hear("metrics", (dict(values), step))

    def close(self, *, failed: bool) -> None:
        self._notebook.hear("close", failed)


@pytest.fixture
def notebook() -> Notebook:
    found = Notebook()
    TRACKERS.register(found)
    return found


def searched(task: Task, **more: Any) -> tuple[Any, Any]:
    result = ranksearch.search(
        task, 0.5, decompositions="svd", n_trials=2, refit_trials=0, finetune_trials=0, progress=None, **more
    )
    return result, ranksearch.compress(task, result, epochs=2, progress=None, **more)


def test_from_python(tiny_task: Task, notebook: Notebook, tmp_path: Path) -> None:
    plain = searched(tiny_task)
    with ranksearch.track("notebook", tmp_path) as track:
        result, compressed = searched(tiny_task, track=track)
        ranksearch.save(tmp_path / "small", tiny_task, result, compressed, track=track)
    assert [kind for kind, _ in notebook.said[:2]] == ["open", "parameters"]
    assert notebook.said[-1] == ("close", False)
    asked = notebook.said[1][1]
    assert (asked["n_trials"], asked["budgets"], asked["seed"]) == ("2", "0.5", "0")
    assert "storage" not in asked, "it may hold a password"
    # Every evaluated plan, with its cost and scores.
    costs = notebook.metrics("plans 0.5/params")
    assert [(value, step) for _, value, step in costs] == [
        (found.plan.cost.of("params"), k) for k, found in enumerate(result.records)
    ]
    scores = {step: value for _, value, step in notebook.metrics("plans 0.5/divergence") if step is not None}
    assert scores.keys() <= set(range(len(result.records)))
    assert min(scores.values()) > 0
    losses = notebook.metrics("loss/fine-tuning")
    assert [step for *_, step in losses] == list(range(1, len(losses) + 1))
    assert losses
    record = read_plan(tmp_path / "small" / "plan.json")
    assert ("dense/params", record.dense["params"], None) in notebook.metrics()
    assert ("delivered 0.5/params", record.cost["params"], None) in notebook.metrics()
    # Not a bit of the plan and the weights depends on it.
    assert plain[0].plan.key == result.plan.key
    state = plain[1].model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in compressed.model.state_dict().items())


@pytest.mark.parametrize("heard", [0, 1, 3])
def test_one_that_fails_costs_a_warning(
    heard: int, tiny_task: Task, notebook: Notebook, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notebook.fails_at = heard
    with caplog.at_level(logging.WARNING), ranksearch.track("notebook", tmp_path) as track:
        searched(tiny_task, track=track)
    assert len(notebook.said) == heard
    (warned,) = [record.getMessage() for record in caplog.records if "track" in record.getMessage()]
    assert "track notebook: ConnectionError: the server is away" in warned


def test_a_server_that_is_away_and_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:hunter22@127.0.0.1:9/hunter22")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING), ranksearch.track("mlflow", tmp_path) as track:
        track.parameters({"budget": 0.5})
        track.loss("fine-tuning", 1, 0.5)
    (warned,) = [record.getMessage() for record in caplog.records if "track" in record.name]
    assert warned.startswith("track mlflow: ")
    assert "127.0.0.1" in warned
    assert "hunter22" not in warned


def test_how_a_run_ended(notebook: Notebook, tmp_path: Path) -> None:
    def interrupted() -> None:
        with Tracking([notebook], tmp_path) as track:
            track.loss("fine-tuning", 1, 0.5)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert notebook.said[-1] == ("close", True)


def test_nothing_to_record_opens_nothing(notebook: Notebook, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), Tracking([notebook], tmp_path):
        raise ZeroDivisionError
    assert notebook.said == []


def test_numbers_and_names_that_every_tool_takes(notebook: Notebook, tmp_path: Path) -> None:
    with Tracking([notebook], tmp_path) as track:
        for value in (inf, nan, 0.25):
            track.loss("fine-tuning 20%, round 1 of 2 × top-1 %", 1, value)
    assert notebook.metrics() == [("loss/fine-tuning 20 round 1 of 2 top-1", 0.25, 1)]


@pytest.mark.parametrize("name", TRACKERS.names())
def test_a_missing_package_is_told_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (name, f"ranksearch.tracking.{name}_run"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ranksearch.RankSearchError, match=rf"no {name}\. pip install 'ranksearch\[{name}\]'"):
        ranksearch.track(name)


# --- the command line, with the real packages


def run(own: Path, *more: object) -> str:
    words = (
        f"run --model {own}/own.py:model --data {own}/own.py:data --budget 0.6 --decompositions svd --seed 1"
    )
    words += (
        " --n-trials 2 --refit-trials 0 --finetune-trials 1 --finetune-steps 2 --epochs 1 --batch-size 32"
    )
    result = CliRunner().invoke(app, [*words.split(), "--export", "none", *map(str, more)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_a_run_is_recorded_and_stays_the_same(
    name: str, own_folder: Path, tmp_path: Path, readers: dict[str, Callable[[Path], Held]]
) -> None:
    pytest.importorskip(name)
    plain, tracked = tmp_path / "plain", tmp_path / "tracked"
    run(own_folder, "--out", plain)
    run(own_folder, "--out", tracked, "--track", name)
    for file in ("plan-0.6.json", "compressed/0.6/model.safetensors", "trials.csv"):
        assert (plain / file).read_bytes() == (tracked / file).read_bytes(), file
    held, record = readers[name](tracked), read_plan(tracked / "compressed/0.6/plan.json")
    assert held.parameters["epochs"] == "1"
    assert held.parameters["decompositions"] == "svd"
    assert [step for step, _ in held.metrics["loss/fine-tuning 0.6"]] == [1, 2]
    assert [value for _, value in held.metrics["delivered 0.6/params"]] == [record.cost["params"]]
    assert [value for _, value in held.metrics["dense/params"]] == [record.dense["params"]]
    (_, after) = held.metrics["delivered 0.6/top-1 test"][-1]
    assert after == pytest.approx(record.behaviour["test"].delivered)
    assert held.metrics["plans 0.6/divergence"]
    assert (tracked / "tensorboard").is_dir() == (name == "tensorboard")


def test_a_plan_is_carried_out_and_recorded(own_folder: Path, tmp_path: Path, notebook: Notebook) -> None:
    run(own_folder, "--out", tmp_path / "run")
    words = ["compress", tmp_path / "run/plan-0.6.json", "--trust", "--epochs", "1", "--export", "none"]
    words += ["--out", tmp_path / "again", "--track", "notebook"]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert notebook.metrics("loss/fine-tuning 0.6")
    assert notebook.metrics("delivered 0.6/params")
    assert notebook.said[-1] == ("close", False)


def test_a_name_that_is_not_known(own_folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["run", "--budget", "0.5", "--out", str(tmp_path / "x"), "--track", "tensorbord"]
    )
    assert result.exit_code == 2
    assert "--track: expected tensorboard or mlflow" in result.output
    assert not (tmp_path / "x").exists()
