from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ranksearch.cli.tables import front_view
from ranksearch.costs import Budget, Cost
from ranksearch.errors import InputError
from ranksearch.planning import Candidate, Plan
from ranksearch.searching import SearchResult, front_record, read_front, write_front, write_trials
from ranksearch.searching.front import Evaluated

DENSE = Cost(params=100, flops=1000)
HALF = Budget.of(DENSE, 0.5)


def plan(rank: int) -> Plan:
    picked = Candidate("svd", "", (rank,), Cost(params=10 * rank, flops=100 * rank), 1 / rank)
    return Plan(
        {"a": picked, "b": Candidate("dense", "", (), Cost(params=5, flops=5), 0.0)},
        picked.cost + Cost(params=5, flops=5),
    )


def evaluated(rank: int, divergence: float, **more: object) -> Evaluated:
    scores = {"error": 1 / rank, "divergence": divergence}
    return Evaluated(plan(rank), HALF, "sensitivities", "divergence", scores, **more)  # type: ignore[arg-type]


RECORDS = (
    evaluated(1, 0.9, trial=0),
    evaluated(2, 0.4, trial=1),
    evaluated(3, 0.5, trial=2),  # costs more than rank 2 and is worse
    evaluated(4, float("inf"), trial=3),
    Evaluated(plan(2), HALF, "sensitivities", "finetune", {"error": 0.5, "finetune": 0.1}, 0),
)
RESULTS = [SearchResult(HALF, plan(2), "sensitivities", {"divergence": 0.4}, RECORDS)]


def test_front_marks_pareto_and_chosen() -> None:
    record = front_record(RESULTS, model="m", metric="params", dense=DENSE)
    assert [(p.cost["params"], p.on_front, p.chosen) for p in record.plans] == [
        (15, True, False),
        (25, True, True),
        (35, False, False),
        (45, False, False),
    ]
    assert record.plans[1].scores == {"error": 0.5, "divergence": 0.4, "finetune": 0.1}
    assert record.plans[3].scores["divergence"] is None
    assert record.plans[1].ranks == {"a": "svd 2", "b": "dense"}


def test_importances_are_kept_for_the_budgets_that_have_some(tmp_path: Path) -> None:
    shares = {"exponent": 0.7, "layers 3": 0.3}
    without = SearchResult(HALF, plan(2), "analytic", {}, RECORDS)
    record = front_record(
        [replace(without, importances=shares), without], model="m", metric="params", dense=DENSE
    )
    (found,) = record.importances
    assert (found.asked, found.score, found.shares) == ("0.5", "divergence", shares)
    write_front(tmp_path / "front.json", record)
    assert read_front(tmp_path / "front.json") == record


def test_front_of_the_error_where_nothing_was_run() -> None:
    records = tuple(Evaluated(plan(r), HALF, "analytic", "reconstruction", {"error": 1 / r}) for r in (1, 2))
    results = [SearchResult(HALF, plan(2), "analytic", {}, records)]
    record = front_record(results, model=None, metric="flops", dense=DENSE)
    assert record.score == "error"
    assert all(p.on_front for p in record.plans)


def test_front_of_the_score_that_decided() -> None:
    """Plans scored as delivered: the front is of that score, not of ε, which ranks them the other way round."""
    records = tuple(
        Evaluated(plan(r), HALF, "sensitivities", "refitted", {"error": 1 / r, "refitted": s}, k)
        for k, (r, s) in enumerate([(1, 0.2), (2, 0.3)])
    )
    results = [SearchResult(HALF, plan(1), "sensitivities", {}, records)]
    record = front_record(results, model=None, metric="params", dense=DENSE)
    assert record.score == "refitted"
    assert [p.on_front for p in record.plans] == [True, False]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(front_view(record, every=True))
    text = console.export_text()
    assert "divergence as delivered" in text
    assert "0.2" in text


def test_front_round_trip(tmp_path: Path) -> None:
    record = front_record(RESULTS, model="m", metric="params", dense=DENSE)
    write_front(tmp_path / "front.json", record)
    assert read_front(tmp_path / "front.json") == record


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "front.json: expected JSON"),
        ("[1]", "front.json: expected a JSON object, got list."),
        ("{}", "front.json, version: expected 2, or 1 from before, got none."),
        ('{"version": 2}', "front.json, model: expected a value, got none."),
        ('{"version": 1}', "front.json, model: expected a value, got none."),
        (
            '{"version": 1, "plans": [{}], "model": null, "metric": "params", "score": "error"}',
            "dense.params",
        ),
    ],
)
def test_unreadable_fronts(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "front.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_front(path)
    assert message in str(caught.value)


def test_fronts_of_version_1_are_read(tmp_path: Path) -> None:
    """As they were written: parameters and FLOPs as fields of their own, budgets as fractions alone."""
    record = front_record(RESULTS, model="m", metric="params", dense=DENSE)
    write_front(tmp_path / "front.json", record)
    data = json.loads((tmp_path / "front.json").read_text())
    dense = data.pop("dense")
    data |= {"version": 1, "dense_params": dense["params"], "dense_flops": dense["flops"]}
    for entry in data["plans"] + data["rank_correlations"]:
        del entry["asked"]
        entry |= entry.pop("cost", {})
        entry |= {"dear": entry.pop("expensive")} if "expensive" in entry else {}
    data["validity"] = data.pop("rank_correlations")
    assert data["validity"]
    (tmp_path / "old.json").write_text(json.dumps(data))
    assert read_front(tmp_path / "old.json") == record


def test_trials_have_a_row_per_evaluation_and_a_column_per_layer(tmp_path: Path) -> None:
    write_trials(tmp_path / "trials.csv", RECORDS)
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(RECORDS)
    assert rows[1]["a"] == "svd 2"
    assert rows[1]["b"] == "dense"
    assert (rows[1]["trial"], rows[1]["params"], rows[1]["divergence"]) == ("1", "25", "0.4")
    assert (rows[4]["stage"], rows[4]["divergence"], rows[4]["finetune"]) == ("finetune", "", "0.1")
