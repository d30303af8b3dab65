"""Plans for other compressors, and ranks from them, from the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from typer.testing import Result

from ranksearch.interchange import PLAN_EXPORTERS
from ranksearch.planning import read_plan, to_plan, write_plan
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
        names = ("chains-plan-0.5.json", "ranks-plan-0.5.json", "tensorly_torch-plan-0.5.json")
        assert {x.name for x in plan.parent.glob("*plan-0.5*")} == {*names, "plan-0.5.json"}
        lines = [line for line in result.stdout.splitlines() if line.startswith("left dense")]
        assert lines == [
            "left dense        0: tucker2 1×2, a rank alone stands for svd",
            "left dense        3: tucker2 2×4, a rank alone stands for svd",
        ]
        assert ("from tltorch import" in result.stdout) == (not quiet)
    assert json.loads((plan.parent / "ranks-plan-0.5.json").read_text()) == {}
    found = json.loads((plan.parent / "tensorly_torch-plan-0.5.json").read_text())
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
    assert len(list(plan.parent.glob("*plan-0.5*"))) == 1


def test_a_run_is_still_one_afterwards(
    invoke: Invoke, finished_run: tuple[Path, Result], tmp_path: Path
) -> None:
    """What was written beside its plans is none of them."""
    folder = Path(shutil.copytree(finished_run[0], tmp_path / "run"))
    before = {command: invoke(command, folder).stdout for command in ("report", "show")}
    result = invoke("export", folder / "plan-0.6.json", "--to", ",".join(PLAN_EXPORTERS))
    assert result.exit_code == 0, result.output
    delivered = folder / "compressed" / "0.6"
    assert invoke("export", delivered / "plan.json", "--to", "chains").exit_code == 0
    for command in ("report", "show"):
        again = invoke(command, folder)
        assert (again.exit_code, again.stdout) == (0, before[command]), again.output
    assert invoke("verify", delivered).exit_code == 0


def test_a_folder_is_no_plan(invoke: Invoke, plan: Path) -> None:
    result = invoke("export", plan.parent, "--to", "ranks")
    assert result.exit_code == 2
    assert "expected a plan file, got a folder. Name a plan file in it" in result.stderr


def test_nothing_is_written_through_a_link(invoke: Invoke, plan: Path) -> None:
    target = plan.parent / "other"
    target.write_text("mine")
    plan.with_name("ranks-plan-0.5.json").symlink_to(target)
    result = invoke("export", plan, "--to", "ranks")
    assert result.exit_code == 2, result.output
    assert target.read_text() == "mine"


def test_ranks_from_elsewhere_are_carried_out(invoke: Invoke, own_folder: Path, tmp_path: Path) -> None:
    """As a plan is: a folder with the model, its plan and its card; the plan can be carried out again."""
    ranks = tmp_path / "ranks.json"
    ranks.write_text(json.dumps({"0": 3, "3": {"decomposition": "tucker2", "ranks": [4, 5]}}))
    of_model = ("--model", f"{own_folder}/own.py:model", "--data", f"{own_folder}/own.py:data")
    quick = ("--epochs", "0", "--export", "none", "--decomposition", "spatial_svd")
    result = invoke("compress", "--ranks", ranks, *of_model, *quick)
    assert result.exit_code == 0, result.output
    record = read_plan(tmp_path / "ranks-compressed" / "plan.json")
    assert to_plan(record).ranks == {"0": "spatial_svd 3", "3": "tucker2 4×5", "7": "dense"}
    assert all(x.error > 0 for x in record.layers if x.decomposition != "dense")
    weights = load_file(tmp_path / "ranks-compressed" / "model.safetensors")
    assert weights["0.0.weight"].shape == (3, 3, 3, 1)
    again = invoke(
        "compress",
        tmp_path / "ranks-compressed" / "plan.json",
        *of_model,
        *quick[:4],
        "--out",
        tmp_path / "b",
    )
    assert again.exit_code == 0, again.output
    assert to_plan(read_plan(tmp_path / "b" / "plan.json")).key == to_plan(record).key


def test_scores_need_a_budget_and_meet_it(invoke: Invoke, own_folder: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps({"0": {"0.5": 0.7, "0.9": 0.9}, "3": {"0.3": 0.6, "0.6": 0.8}}))
    of_model = ("--model", f"{own_folder}/own.py:model", "--data", f"{own_folder}/own.py:data")
    quick = ("--epochs", "0", "--export", "none")
    result = invoke("compress", "--ranks", scores, *of_model, *quick, "--budget", "0.6", "--metric", "flops")
    assert result.exit_code == 0, result.output
    record = read_plan(tmp_path / "scores-compressed" / "plan.json")
    assert (record.metric, record.asked) == ("flops", "0.6")
    assert record.cost["flops"] <= record.limit == int(0.6 * record.dense["flops"])
    assert {x.name: x.decomposition for x in record.layers}["3"] == "spatial_svd"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "PLAN: expected a plan file, or --ranks FILE, got none"),
        (("plan.json", "--ranks", "r.json"), "--ranks: expected either a plan file or ranks"),
        (("plan.json", "--budget", "0.5"), "--budget: expected --ranks, without which it has no effect"),
        (("plan.json", "--decomposition", "cp"), "--decomposition: expected --ranks, without which"),
        (("--ranks", "none.json"), "none.json: expected a file of ranks, got No such file"),
        (("--ranks", "r.json", "--decomposition", "cpp"), "--decomposition: expected svd or spatial_svd"),
        (
            ("--ranks", "r.json", "--budget", "0.5"),
            "--budget: expected none, as the ranks are given, got 0.5",
        ),
        (("--ranks", "r.json"), "--ranks: expected layers of the model, got '99'"),
        (("--ranks", "s.json"), "--budget: expected one, for scores, got none"),
        (("--ranks", "s.json", "--budget", "0.5,0.4"), "--budget: expected one at a time, got 2 of them"),
        (("--ranks", "s.json", "--budget", "1MB", "--metric", "bytes"), "--metric: expected params or flops"),
    ],
)
def test_mistakes_about_ranks(
    arguments: tuple[str, ...],
    message: str,
    invoke: Invoke,
    own_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.json").write_text('{"99": 3}')
    (tmp_path / "s.json").write_text('{"3": {"0.5": 0.7}}')
    of_model = ("--model", f"{own_folder}/own.py:model", "--data", f"{own_folder}/own.py:data")
    result = invoke("compress", *arguments, *of_model, "--epochs", "0")
    assert result.exit_code == 2, result.output
    assert message in result.stderr


def test_a_budget_of_a_file_of_options_is_of_no_use_to_ranks(
    invoke: Invoke, own_folder: Path, tmp_path: Path
) -> None:
    """The file of a study serves for its model and data."""
    own = own_folder / "own.py"
    (tmp_path / "ranks.json").write_text('{"3": 4}')
    (tmp_path / "study.toml").write_text(
        f'model = "{own}:model"\ndata = "{own}:data"\nbudget = [0.5, 0.3]\nepochs = 0\nexport = "none"\n'
    )
    study = ("--config", tmp_path / "study.toml")
    result = invoke("compress", "--ranks", tmp_path / "ranks.json", *study)
    assert result.exit_code == 0, result.output
    assert to_plan(read_plan(tmp_path / "ranks-compressed" / "plan.json")).ranks["3"] == "svd 4"
