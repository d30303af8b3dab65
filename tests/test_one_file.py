"""What docs/write_your_own.md promises: one file and its name, seen in the help, the plan, the front and `show`."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.utils.data import TensorDataset
from typer.testing import CliRunner, Result

import ranksearch
from ranksearch.cli import app
from ranksearch.costs import COSTS
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.exporting import read_exports
from ranksearch.planning import read_plan, write_plan
from ranksearch.searching import read_front
from ranksearch.tasks import Task, evaluate
from ranksearch.testing import made_up_plan

PAGE = (Path(__file__).parent.parent / "docs" / "write_your_own.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
COMMANDS = re.findall(r"^    ranksearch (run .*)$", PAGE, re.MULTILINE)

MODEL = """
import torch
from sklearn.metrics import balanced_accuracy_score
from torch import nn
from torch.utils.data import TensorDataset
from torch import nn
from torch.utils.data import TensorDataset

def model():
    torch.manual_seed(0)
    found = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(),
                          nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
                          nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4))
    with torch.no_grad():
        found[-1].weight *= 8
    return found

def data():
    g = torch.Generator().manual_seed(1)
    return {k: TensorDataset(torch.randn(n, 3, 6, 6, generator=g), torch.arange(n) % 4)
            for k, n in {"train": 120, "test": 20}.items()}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the page's files and a model of one's own."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "own.py").write_text(MODEL)
    return tmp_path


@pytest.fixture
def carried_out(place: Path) -> Callable[[str], Path]:
    """Carries out a command of the page on that model; the folder of its run."""

    def run(command: str) -> Path:
        more = "--model own.py:model --data own.py:data --epochs 0 --finetune-trials 0 --out run"
        result = CliRunner().invoke(app, [*shlex.split(command), *more.split()])
        assert result.exit_code == 0, result.output
        return place / "run"

    return run


def show(*arguments: object) -> str:
    result: Result = CliRunner().invoke(app, ["show", *map(str, arguments)], env={"COLUMNS": "250"})
    assert result.exit_code == 0, result.output
    return result.output


def command_with(text: str) -> str:
    (found,) = [command for command in COMMANDS if text in command]
    return found


def test_a_decomposition(carried_out: Callable[[str], Path]) -> None:
    folder = carried_out(command_with("InputSVD").replace("svd,input_svd.py", "input_svd.py"))
    record = read_plan(folder / "plan-0.5.json")
    assert {layer.decomposition for layer in record.layers} & {"input_svd"}
    assert all(layer.chain is not None for layer in record.layers)
    assert "input_svd" in show(folder / "plan-0.5.json")
    assert any("input_svd" in str(plan.ranks) for plan in read_front(folder / "front.json").plans)


def test_an_objective(carried_out: Callable[[str], Path]) -> None:
    folder = carried_out(command_with("OutputDistance"))
    front = read_front(folder / "front.json")
    assert front.score == "output_distance", "the most expensive of the scores that most plans have"
    assert all("output_distance" in plan.scores for plan in front.plans)
    pairs = {(found.cheap, found.expensive) for found in front.rank_correlations}
    assert pairs == {("error", "output_distance"), ("output_distance", "refitted")}
    shown = show(folder, "--all")
    assert "squared distance of outputs" in shown
    assert "ε ranks" in shown


def test_a_search_space(carried_out: Callable[[str], Path]) -> None:
    folder = carried_out(command_with("Halves"))
    front = read_front(folder / "front.json")
    assert {plan.origin for plan in front.plans} >= {"analytic", "halves"}
    assert "halves" in show(folder, "--all")
    trials = [json.loads(line) for line in (folder / "study.jsonl").read_text().splitlines()]
    assert any("second half" in str(trial) for trial in trials)


def test_an_allocator(carried_out: Callable[[str], Path]) -> None:
    folder = carried_out(command_with("SQUARES"))
    (chosen,) = [plan for plan in read_front(folder / "front.json").plans if plan.chosen]
    assert chosen.origin == "squares"
    assert "squares" in show(folder, "--all")


def test_a_metric_of_sums() -> None:
    names: dict[str, Any] = {}
    exec(FILES["balance.py"], names)
    outputs = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    data = TensorDataset(outputs, (torch.arange(40) % 5 == 0).long())
    task = Task(nn.Identity(), data, test=data, metric_fn=names["BALANCED"], batch_size=7)
    found = evaluate(task.model, task, "test")
    assert found is not None
    wanted = balanced_accuracy_score(data.tensors[1], outputs.argmax(1))
    assert found.mean == pytest.approx(100 * wanted)


def test_a_cost_metric_of_the_budget(carried_out: Callable[[str], Path], place: Path) -> None:
    folder = carried_out(command_with("--metric traffic"))
    record, front = read_plan(folder / "plan-0.8.json"), read_front(folder / "front.json")
    assert (record.metric, front.metric) == ("traffic", "traffic")
    assert record.cost["traffic"] <= record.limit == int(0.8 * record.dense["traffic"])
    assert set(record.cost) == {"params", "flops", "traffic"}
    assert all(plan.cost["traffic"] <= record.limit for plan in front.plans if plan.state == "complete")
    assert f"{record.cost['traffic']:,} of at most {record.limit:,} bytes moved" in show(
        folder / "plan-0.8.json"
    )
    assert "bytes moved" in show(folder)
    assert "traffic" in (folder / "trials.csv").read_text().partition("\n")[0].split(",")
    # Whoever only looks at it need not have the file.
    del COSTS._known["traffic"]
    assert "of at most" in show(folder / "plan-0.8.json")
    # And `compress` finds the metric by what the plan's options say.
    again = CliRunner().invoke(
        app, ["compress", "--trust", str(folder / "plan-0.8.json"), "--out", str(place / "again")]
    )
    assert again.exit_code == 0, again.output
    assert read_plan(place / "again" / "plan.json").cost == record.cost


def test_a_cost_metric_beside_the_budget(carried_out: Callable[[str], Path]) -> None:
    record = read_plan(carried_out(command_with("--limit")) / "plan-0.5.json")
    (limit,) = record.limits
    assert (record.metric, limit.metric, limit.asked) == ("params", "traffic", "0.9")
    assert record.cost["params"] <= record.limit
    assert record.cost["traffic"] <= limit.limit


def test_a_runtime(carried_out: Callable[[str], Path]) -> None:
    record = read_plan(carried_out(command_with("BoardRuntime")) / "plan-0.8.json")
    assert record.metric == "latency"
    time = record.scores["time"]
    assert time is not None
    assert time <= 0.8
    assert time == pytest.approx(record.scores["time_predicted"], rel=1e-5), "these times add up"


def test_an_exporter(carried_out: Callable[[str], Path]) -> None:
    pytest.importorskip("onnxruntime")
    folder = carried_out(command_with("ChannelsLast")) / "compressed" / "0.5"
    assert [record.exporter for record in read_exports(folder)] == ["onnx", "channels_last"]
    program = torch.export.load(folder / "channels_last.pt2").module()
    assert program(torch.zeros(3, 3, 6, 6)).shape == (3, 4)
    # What a folder says about code counts only where it is trusted.
    again = "run --resume --out run --model own.py:model --data own.py:data"
    result = CliRunner().invoke(app, again.split())
    assert result.exit_code == 2
    assert "channels_last.py:ChannelsLast" in result.output


def test_a_plan_exporter(place: Path) -> None:
    namespace: dict[str, Callable[[], nn.Module]] = {}
    exec(MODEL, namespace)
    write_plan(place / "plan.json", made_up_plan(namespace["model"](), torch.zeros(1, 3, 6, 6), "svd"))
    result = CliRunner().invoke(app, ["export", "plan.json", "--to", "pairs.py:Pairs,ranks"])
    assert result.exit_code == 0, result.output
    assert json.loads((place / "pairs-plan.json").read_text())["layers"] == {"8": 1}
    assert "left dense        0: svd 4, it has pairs of Linear layers alone" in result.output


def test_a_tracker(carried_out: Callable[[str], Path]) -> None:
    folder = carried_out(command_with("Lines"))
    found = [json.loads(line) for line in (folder / "lines.jsonl").read_text().splitlines()]
    assert found[0]["parameters"]["epochs"] == "0"
    cost = read_plan(folder / "compressed" / "0.5" / "plan.json").cost["params"]
    assert {"delivered 0.5/params": cost}.items() <= found[-1]["metrics"].items()


def test_the_same_from_python(place: Path) -> None:
    namespace: dict[str, Callable[[], object]] = {}
    exec(MODEL, namespace)
    task = Task(namespace["model"]().eval(), namespace["data"]()["train"], calibration_size=48)  # type: ignore[attr-defined, index]
    result = ranksearch.search(task, 0.8, metric="traffic.py:Traffic")
    assert result.plan.cost.of("traffic") <= result.budget.limit
    both = ranksearch.search(
        task,
        0.6,
        limits={"traffic": 0.9},
        decompositions=["svd", "input_svd.py:InputSVD"],
        allocator="knapsack",
    )
    assert both.budget.met_by(both.plan.cost)
    other = ranksearch.search(
        task, 0.6, allocator="squares.py:SQUARES", objective="distance.py:OutputDistance"
    )
    assert other.origin == "squares"
    assert "output_distance" in other.scores
    torch.testing.assert_close(other.plan.cost.of("params"), other.plan.cost.params)


def test_a_package_brings_one_by_an_entry_point(place: Path) -> None:
    """As an installed distribution: a module, and a .dist-info folder that says so."""
    site = place / "site"
    info = site / "mine-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "mine.py").write_text(FILES["input_svd.py"])
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[ranksearch.decompositions]\ninput_svd = mine:InputSVD\nbroken = mine:Missing\n"
    )
    code = (
        "import sys; from ranksearch.decompositions import DECOMPOSITIONS as D; assert 'torch' not in sys.modules; "
        "print(*D); print(D.summary('input_svd')); print(D.get('input_svd').name); "
        "from ranksearch.errors import InputError\n"
        "try: D.get('broken')\n"
        "except InputError as error: print(error)"
    )
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    names, summary, found, broken = done.stdout.splitlines()
    assert names.split() == [*DECOMPOSITIONS.names(), "input_svd", "broken"]
    assert (summary, found) == ("from mine", "input_svd")
    assert "decompositions 'broken' of the package mine: expected one that can be loaded" in broken


def test_the_contract_suites_run_as_the_page_says(place: Path) -> None:
    tests = [name for name in FILES if name.startswith("test_")]
    assert len(tests) == 9
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=place, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(place)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
