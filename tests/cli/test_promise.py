"""Promised drops, criteria and behaviour on the command line, and what `verify` measures again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

import ranksearch.runs.deliver
import ranksearch.runs.run
from ranksearch.checksums import write_sums
from ranksearch.cli.endings import NOT_KEPT
from ranksearch.planning import PlanRecord, read_plan

Invoke = Callable[..., Result]

NONE = ("--n-trials", "0", "--finetune-trials", "0", "--epochs", "0")


@pytest.fixture(scope="session")
def promised(own_folder: Path, run: Invoke) -> tuple[Path, Result]:
    """The folder of a run that promises a drop, one that half the accuracy may be lost of, and what it printed."""
    folder = own_folder / "promised"
    return folder, run("--max-drop", "60", "--out", folder, *NONE, "--accept", "params<=100%,drop<=100")


def chosen(folder: Path) -> PlanRecord:
    records = [read_plan(file) for file in folder.glob("compressed/*/plan.json")]
    (found,) = [record for record in records if record.promise is not None]
    return found


def told(result: Result) -> str:
    """The one error of a command that could do what it was asked to."""
    (error,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in result.output
    return error


def test_a_promise_that_is_kept(promised: tuple[Path, Result]) -> None:
    folder, result = promised
    assert result.exit_code == 0, result.output
    record = chosen(folder)
    assert record.promise is not None
    assert record.promise.kept
    assert len(record.promise.looks) <= record.promise.most_looks
    own = next(look for look in record.promise.looks if look.asked == record.asked)
    assert own.bound is not None
    assert own.drop <= own.bound <= 60
    assert record.asked == min((x.asked for x in record.promise.looks if x.kept), key=float)
    assert f"kept by budget {record.asked}, which loses" in result.stdout
    assert f"compressed model  {folder}/compressed/{record.asked}" in result.stdout
    test = record.behaviour["test"].drop
    assert test is not None
    assert record.promise.held_on_test == (test.mean <= 60)
    # The test data are looked at for the chosen model alone.
    others = [read_plan(file) for file in folder.glob("compressed/*/plan.json")]
    assert len(others) == len(record.promise.looks)
    assert [x.asked for x in others if "test" in x.behaviour] == [record.asked]


def _said(folder: Path) -> dict[Path, Any]:
    """What lies in a run folder, but for the times that were measured, which differ from one try to the next."""
    said: dict[Path, Any] = {}
    for path in folder.rglob("*"):
        if path.name == "plan.json":
            said[path] = read_plan(path).model_copy(update={"footprint": None})
        elif path.is_file() and path.name not in (
            "log.txt",
            ".lock",
            "SHA256SUMS",
            "README.md",
            "report.html",
        ):
            said[path] = path.read_bytes()
    return said


def test_what_was_delivered_for_a_promise_is_not_made_again(
    promised: tuple[Path, Result], invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(promised[0], tmp_path / "again"))
    before = _said(folder)
    made: list[Any] = []
    own = ranksearch.runs.deliver.compress
    monkeypatch.setattr(ranksearch.runs.deliver, "compress", lambda *a, **k: made.append(a) or own(*a, **k))
    result = invoke("run", "--resume", "--trust", "--out", folder)
    assert result.exit_code == 0, result.output
    assert not made
    assert _said(folder) == before
    # As if it had been killed after the second model.
    looks = chosen(folder).promise.looks  # type: ignore[union-attr]
    for look in looks[2:]:
        shutil.rmtree(folder / "compressed" / look.asked)
    assert invoke("run", "--resume", "--trust", "--out", folder).exit_code == 0
    assert len(made) == len(looks[2:])
    assert _said(folder) == before


def test_a_promise_that_no_budget_keeps(run: Invoke, tmp_path: Path) -> None:
    """So few images cannot show so small a drop of a metric whose scale only its scores tell."""
    out = tmp_path / "out"
    (tmp_path / "right.py").write_text(
        "def right(outputs, targets):\n    return (outputs.argmax(1) == targets).float()\n"
    )
    metric = ("--metric-fn", f"{tmp_path}/right.py:right")
    result = run("--max-drop", "0.01", "--out", out, *NONE, *metric)
    assert result.exit_code == NOT_KEPT, result.output
    record = chosen(out)
    assert record.promise is not None
    assert not record.promise.kept
    assert f"no budget that was tried keeps a drop of at most 0.01, and budget {record.asked}" in told(result)
    assert (out / "compressed" / record.asked / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--max-drop", "1", "--budget", "0.5"),
            "--max-drop: expected either a drop or a budget, got --max-drop 1",
        ),
        ((), "--budget: expected how much to keep, or --max-drop, got none"),
        (("--max-drop", "0"), "--max-drop: expected a number greater than 0, got '0'"),
        (("--max-drop", "1"), "the least drop that 24 validation examples can show, got 1"),
        (
            ("--budget", "0.5", "--accept", "top2>=0.5"),
            "--accept: expected a figure among top1, drop, flips, ece",
        ),
        (("--budget", "0.5", "--accept", "prams<=5k"), "Did you mean params?"),
        (("--budget", "0.5", "--accept", "params=5k"), "--accept: expected a figure, <= or >=, and a limit"),
        (("--budget", "0.5", "--accept", "params<=6ms"), "expected for params an amount, 54k"),
        (("--budget", "0.5", "--accept", "flips<=3"), "expected a share, as in flips<=0.03"),
        (("--budget", "0.5", "--accept", "latency<=54k"), "expected for latency a time, 6ms"),
        (("--budget", "0.5", "--accept", "top1>=much"), "expected a number, as in top1>=0.86"),
    ],
)
def test_mistakes_are_told_before_anything_long_starts(
    run: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.setattr(ranksearch.runs.run, "prepare", lambda *_, **__: 1 / 0)
    result = run("--out", tmp_path / "x", *arguments)
    assert result.exit_code == 2, result.output
    assert message in told(result)
    assert not (tmp_path / "x").exists()


def test_criteria_are_held_against_what_was_delivered(
    finished_run: tuple[Path, Result], invoke: Invoke, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished_run[0], tmp_path / "run"))
    again = ("run", "--resume", "--trust", "--out", folder, "--accept")
    result = invoke(*again, "params<=100%,flops<=0.4,top1>=0", "--accept", "ece<=100%")
    assert result.exit_code == NOT_KEPT, result.output
    assert "not met: flops<=0.4 by budget 0.6" in told(result)
    record = read_plan(folder / "compressed" / "0.6" / "plan.json")
    assert [x.passed for x in record.criteria] == [True, False, True, True]
    flops = record.criteria[1]
    assert (flops.measured, flops.limit, flops.on) == (
        record.cost["flops"],
        int(0.4 * record.dense["flops"]),
        "model",
    )
    assert record.criteria[2].measured == record.behaviour["test"].delivered == record.scores["test"]
    assert f"accept flops<=0.4: failed by budget 0.6, {record.cost['flops']:,} FLOPs" in result.stdout
    assert invoke(*again, "latency<=60s").exit_code == 0
    assert invoke(*again, "none").exit_code == 0
    assert read_plan(folder / "compressed" / "0.6" / "plan.json").criteria == ()


def test_behaviour_is_kept_and_shown(finished_run: tuple[Path, Result], invoke: Invoke) -> None:
    folder, result = finished_run
    for budget in ("0.6", "0.4"):
        record = read_plan(folder / "compressed" / budget / "plan.json")
        for role, count in (("validation", 24), ("test", 40)):
            found = record.behaviour[role]
            assert found.examples == count
            assert found.delivered == record.scores[role]
            assert found.predictions is not None
            assert found.drop is not None
            assert found.dense is not None
            assert found.delivered is not None
            assert found.drop.mean == pytest.approx(found.dense - found.delivered)
        line = f"budget {budget}, test data: "
        for text in (result.stdout, invoke("show", folder).stdout):
            assert line in text
        assert line in " ".join(invoke("show", folder / "compressed" / budget).stdout.split())
        assert read_plan(folder / f"plan-{budget}.json").behaviour == record.behaviour


# verify


def test_verify_says_what_it_did_not_check(
    finished_run: tuple[Path, Result], invoke: Invoke, own_folder: Path
) -> None:
    folder = finished_run[0]
    result = invoke("verify", folder)
    assert result.exit_code == 0, result.output
    assert "not checked: costs, outputs and the task metric (name the model with --model)" in result.stdout
    result = invoke("verify", folder, "--model", f"{own_folder}/own.py:model")
    assert result.exit_code == 0, result.output
    assert "costs what the plan says" in result.stdout
    assert "outputs for 3 seeded inputs differ by 0 of the largest" in result.stdout
    assert "not checked: the task metric (give --data)" in result.stdout


def test_verify_measures_the_task_metric_again(
    finished_run: tuple[Path, Result], invoke: Invoke, own_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(finished_run[0], tmp_path / "run"))
    own = own_folder / "own.py"
    given = ("--model", f"{own}:model", "--data", f"{own}:data")
    result = invoke("verify", folder, *given)
    assert result.exit_code == 0, result.output
    record = read_plan(folder / "compressed" / "0.6" / "plan.json")
    assert f"top-1 % {record.scores['test']:.2f} on 40 test examples" in result.stdout
    assert "not checked" not in result.stdout
    (tmp_path / "other.py").write_text(own.read_text().replace("part(160)", "part(150)"))
    other = invoke("verify", folder, "--model", f"{own}:model", "--data", f"{tmp_path}/other.py:data")
    assert other.exit_code == 2
    assert "expected data that is split as in" in other.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plan: plan["outputs"]["values"][0].__setitem__(0, 1e3), "expected the outputs in plan.json"),
        (lambda plan: plan["behaviour"]["test"].__setitem__("delivered", 99.0), "expected top-1 % 99.0000"),
    ],
)
def test_verify_finds_what_differs(
    finished_run: tuple[Path, Result],
    invoke: Invoke,
    own_folder: Path,
    tmp_path: Path,
    change: Callable[[Any], None],
    message: str,
) -> None:
    """Also where somebody made the checksums fit."""
    folder = Path(shutil.copytree(finished_run[0] / "compressed" / "0.6", tmp_path / "small"))
    plan = json.loads((folder / "plan.json").read_text())
    change(plan)
    (folder / "plan.json").write_text(json.dumps(plan))
    write_sums(folder, ("plan.json",))
    own = own_folder / "own.py"
    result = invoke("verify", folder, "--model", f"{own}:model", "--data", f"{own}:data")
    assert result.exit_code == 2
    assert message in told(result)


def test_a_folder_from_elsewhere_names_no_code(
    finished_run: tuple[Path, Result], invoke: Invoke, own_folder: Path
) -> None:
    folder = finished_run[0] / "compressed" / "0.6"
    result = invoke("verify", folder, "--data", f"{own_folder}/own.py:data")
    assert result.exit_code == 2
    assert "Name it with --model, or add --trust if you trust the folder." in told(result)
    trusted = invoke("verify", folder, "--trust")
    assert trusted.exit_code == 0, trusted.output
    assert "costs what the plan says" in trusted.stdout
