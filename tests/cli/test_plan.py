"""`ranksearch plan`: further budgets of a finished run."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import Result

from ranksearch.planning import read_plan, read_tables, to_plan
from ranksearch.runs import RunFolder

Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def analytic(run: Invoke, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without trials, for a budget and a further limit."""
    folder = tmp_path_factory.mktemp("analytic") / "run"
    more = ("--n-trials", "0", "--finetune-trials", "4", "--finetune-steps", "60", "--epochs", "0")
    result = run("--budget", "0.6,0.4", "--limit", "flops=0.8", "--out", folder, *more)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def copy(analytic: Path, tmp_path: Path) -> Path:
    """A copy of that folder, without the rest of what the run needs: no model, no data."""
    for name in ("tables.json", "plan-0.6.json", "plan-0.4.json", "compressed"):
        source, target = analytic / name, tmp_path / "copy" / name
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    return tmp_path / "copy"


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_the_same_plan_as_the_run_and_of_the_same_form(copy: Path, invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "again.json"
    assert invoke("plan", copy, "--budget", "0.4", "--limit", "flops=0.8", "--out", out).exit_code == 0
    made, own = read_plan(out), read_plan(copy / "plan-0.4.json")
    assert to_plan(made) == to_plan(own)
    left_out = {"options": {}, "behaviour": {}}  # of what the run delivered
    assert made.model_copy(update=left_out) == own.model_copy(update=left_out)
    assert {**made.options, "budget": None} == {**own.options, "budget": None}
    assert made.options["budget"] == [0.4]


def test_several_budgets_with_the_limits_of_the_run(copy: Path, invoke: Invoke) -> None:
    result = invoke("plan", copy, "--budget", "0.5,30%", "--quiet")
    assert result.exit_code == 0, result.output
    for asked in ("0.5", "0.3"):
        record = read_plan(copy / f"plan-{asked}.json")
        assert record.cost["params"] <= float(asked) * record.dense["params"]
        assert [(limit.metric, limit.asked) for limit in record.limits] == [("flops", "0.8")]
        assert f"plan-{asked}.json" in result.stdout
    assert len(RunFolder(copy).plans()) == 4
    assert "deliver" not in result.stdout


def test_a_plan_is_delivered_without_more_options(analytic: Path, invoke: Invoke, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    assert invoke("plan", analytic, "--budget", "0.5", "--out", plan).exit_code == 0
    result = invoke("compress", plan, "--trust", "--out", tmp_path / "small")
    assert result.exit_code == 0, result.output
    assert to_plan(read_plan(tmp_path / "small" / "plan.json")).key == to_plan(read_plan(plan)).key


def test_a_plan_that_is_there_is_kept(copy: Path, invoke: Invoke) -> None:
    before = (copy / "plan-0.6.json").read_bytes()
    result = invoke("plan", copy, "--budget", "0.6")
    assert result.exit_code == 0
    assert "there already" in result.stdout
    refused = invoke("plan", copy, "--budget", "0.5,0.6", "--metric", "flops")
    assert refused.exit_code == 2
    assert "--out: expected a new file, got" in refused.output.replace("\n", " ")
    assert "a plan for params 0.6 and flops 0.8. Name another file with --out" in refused.output.replace(
        "\n", " "
    )
    assert (copy / "plan-0.6.json").read_bytes() == before
    assert not (copy / "plan-0.5.json").exists()


def test_a_run_that_searched_says_so(
    finished_run: tuple[Path, Result], invoke: Invoke, tmp_path: Path
) -> None:
    folder, _ = finished_run
    result = invoke("plan", folder, "--budget", "0.5", "--out", tmp_path / "plan.json")
    assert result.exit_code == 0, result.output
    assert "the run searched around its analytic plans" in result.output


def test_the_front_of_a_run(finished_run: tuple[Path, Result]) -> None:
    folder, _ = finished_run
    rows = rows_of(folder / "front.csv")
    assert list(rows[0]) == [
        "budget", "params", "flops", "error", "divergence", "delivered",
        "validation", "validation_stderr", "test", "test_stderr",
    ]  # fmt: skip
    delivered = {row["delivered"]: row for row in rows if row["delivered"]}
    assert set(delivered) == {"0.6", "0.4"}
    for asked, row in delivered.items():
        scores = read_plan(folder / "compressed" / asked / "plan.json").scores
        for column, score in (("divergence", "delivered"), ("test", "test"), ("error", "error")):
            assert float(row[column]) == pytest.approx(scores[score], rel=1e-5)
    costs = [int(row["params"]) for row in rows]
    assert costs == sorted(costs)
    assert costs[-1] == read_tables(folder / "tables.json").dense["params"]
    picture = ElementTree.parse(folder / "front.svg").getroot()
    assert picture.tag.endswith("svg")


@pytest.mark.parametrize("arguments", [("--front",), ()])
def test_the_front_is_made_again_with_what_was_delivered_since(
    copy: Path, invoke: Invoke, arguments: tuple[str, ...]
) -> None:
    result = invoke("plan", copy, *arguments)
    assert result.exit_code == 0, result.output
    first = (copy / "front.csv").read_bytes(), (copy / "front.svg").read_bytes()
    shutil.copytree(copy / "compressed" / "0.6", copy / "plan-0.5-compressed")
    (copy / "compressed" / "0.4" / "plan.json").write_text("{")
    result = invoke("plan", copy, *arguments)
    assert result.exit_code == 0, result.output
    assert [row["delivered"] for row in rows_of(copy / "front.csv") if row["delivered"]] == ["0.6", "0.6"]
    assert (copy / "front.svg").read_bytes() != first[1]
    flops = invoke("plan", copy, "--front", "--metric", "flops")
    assert flops.exit_code == 0, flops.output
    assert [float(row["budget"]) for row in rows_of(copy / "front-flops.csv")][-1] == 1
    assert (copy / "front-flops.svg").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--budget", "5"), "--budget: expected a fraction to keep"),
        (("--budget", "0.001"), "--budget: expected at least 0.1"),
        (("--budget", "0.5", "--limit", "flops=0.0001"), "--limit: expected flops at least 0.0"),
        (("--budget", "0.5", "--metric", "latency"), "--metric: expected params or flops, which the run counted"),
        (("--budget", "0.5", "--metric", "flop"), "--metric: expected params or flops"),
        (("--budget", "0.5", "--front"), "--front: expected no budget"),
        (("--budget", "0.5,0.3", "--out", "x.json"), "--out: expected one budget for one file, got 2 budgets"),
        (("--front", "--limit", "flops=0.5"), "--limit: expected a budget to hold in addition to"),
        (("--front", "--out", "x.png"), "--out: expected the name of a table, FILE.csv"),
        (("--budget", "0.5", "--decompositions", "cpp"), "--decompositions: expected svd or"),
        (("--budget", "0.5", "--decompositions", "cp"), "--decompositions: expected some of spatial_svd, svd, got cp"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_one_line(
    copy: Path, invoke: Invoke, arguments: tuple[str, ...], message: str
) -> None:
    before = {path.name for path in copy.iterdir()}
    result = invoke("plan", copy, *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output.replace("\n", " ")
    assert {path.name for path in copy.iterdir()} == before


def test_a_folder_without_tables(invoke: Invoke, tmp_path: Path) -> None:
    result = invoke("plan", tmp_path, "--budget", "0.5")
    assert result.exit_code == 2
    assert "expected a run folder with tables.json, got one without" in result.output.replace("\n", " ")
    result = invoke("plan", tmp_path / "nowhere", "--budget", "0.5")
    assert result.exit_code == 2
    assert "nowhere: expected a tables file, got No such file" in result.output.replace("\n", " ")
