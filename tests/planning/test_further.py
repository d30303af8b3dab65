"""Tables in a file, and the plans that are made from them alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ranksearch.costs import Budget, Cost, Kept
from ranksearch.errors import BudgetError, InputError
from ranksearch.networks import Call, Layer
from ranksearch.planning import (
    DENSE,
    Candidate,
    Problem,
    Table,
    Tables,
    TablesRecord,
    analytic,
    balanced_errors,
    further_budgets,
    further_plan,
    model_record,
    read_tables,
    record_of_tables,
    whole_front,
    write_tables,
)
from ranksearch.timing import TimedOn, Times


def as_record(problem: Problem) -> TablesRecord:
    return record_of_tables(
        problem.offered,
        model_record(problem.task.model, problem.task.example),
        task_metric="top-1 %",
        budget=Budget.of(problem.dense, 0.5, "params", (("flops", Kept(fraction=0.9)),)),
        seed=3,
        options={"decompositions": ["svd", "spatial_svd"]},
    )


@pytest.fixture
def stored(tiny_problem: Problem, tmp_path: Path) -> Path:
    path = tmp_path / "tables.json"
    write_tables(path, as_record(tiny_problem))
    return path


def test_tables_come_back_as_they_were(tiny_problem: Problem, stored: Path) -> None:
    weighed = replace(
        tiny_problem, tables=tuple(replace(t, weight=1.5 + k) for k, t in enumerate(tiny_problem.tables))
    )
    assert read_tables(stored).content() == tiny_problem.offered
    write_tables(stored, as_record(weighed))
    assert read_tables(stored).content() == weighed.offered
    assert stored.read_text().count("\n") == 1


@pytest.mark.parametrize("kept", [0.3, 0.5, 0.71, 1.0])
@pytest.mark.parametrize("limits", [(), (("flops", Kept(fraction=0.6)),)])
def test_the_plan_is_the_one_that_a_run_finds(
    tiny_problem: Problem, stored: Path, kept: float, limits: tuple[tuple[str, Kept], ...]
) -> None:
    record = read_tables(stored)
    (budget,) = further_budgets(record.content().dense, [Kept.parse(kept)], record.of_run, "params", limits)
    found = further_plan(record.content(), budget)
    expected = tiny_problem.plan(analytic(tiny_problem.tables, budget))
    assert found.plan == expected
    assert found.scores == {"error": expected.error}
    assert budget.met_by(found.plan.cost)


def test_the_limits_of_the_run_hold_where_nothing_else_is_said(tiny_problem: Problem) -> None:
    dense, of_run = tiny_problem.dense, ("params", (("flops", Kept(fraction=0.9)),))
    asked = [Kept(fraction=0.4)]
    assert further_budgets(dense, asked, of_run)[0] == Budget.of(dense, 0.4, "params", of_run[1])
    assert further_budgets(dense, asked, of_run, "flops")[0] == Budget.of(dense, 0.4, "flops")
    assert further_budgets(dense, asked, of_run, limits=())[0] == Budget.of(dense, 0.4, "params")


def test_metrics_that_were_not_counted_are_refused_with_a_way_to_get_them(tiny_problem: Problem) -> None:
    def budgets(metric: str | None, limits: tuple[tuple[str, Kept], ...] = ()) -> object:
        return further_budgets(tiny_problem.dense, [Kept(fraction=0.4)], ("params", ()), metric, limits)

    wanted = r"metric: expected params or flops, which .*, got latency\. Run again .*`metric=latency`.*timed"
    with pytest.raises(InputError, match=wanted):
        budgets("latency")
    with pytest.raises(InputError, match=wanted):
        budgets(None, (("latency", Kept(fraction=0.5)),))
    with pytest.raises(InputError, match=r"metric: expected params or flops.*got 'flop'"):
        budgets("flop")
    with pytest.raises(InputError, match="limit: expected cost metrics other than the budget's"):
        budgets("flops", (("flops", Kept(fraction=0.5)),))


def test_fewer_decompositions(tiny_problem: Problem) -> None:
    tables = tiny_problem.offered.only(["svd"])
    plan = further_plan(tables, Budget.of(tables.dense, 0.5)).plan
    assert {c.decomposition for c in plan.choices.values()} <= {"svd", "dense"}
    with pytest.raises(BudgetError, match="budget: expected at least 1"):
        further_plan(tiny_problem.offered.only([]), Budget.of(tables.dense, 0.5))


@pytest.mark.parametrize("metric", ["params", "flops"])
def test_the_front_holds_the_best_plan_at_each_of_its_costs(tiny_problem: Problem, metric: str) -> None:
    tables = tiny_problem.offered
    errors = {
        (table.layer.name, candidate): error
        for table, own in zip(tables.tables, balanced_errors(tables.tables), strict=True)
        for candidate, error in zip(table.candidates, own, strict=True)
    }

    def balanced(choices: Any) -> float:
        return sum(errors[item] for item in choices.items())

    plans = whole_front(tables, metric, 10**6)
    costs = [plan.cost.of(metric) for plan in plans]
    assert costs == sorted(set(costs))
    assert all(candidate.is_dense for candidate in plans[-1].choices.values())
    assert costs[-1] == tables.dense.of(metric)
    with pytest.raises(BudgetError):
        further_plan(tables, Budget.at_most(tables.dense, costs[0] - 1, metric))
    for plan in plans[:: max(1, len(plans) // 12)]:
        best = further_plan(tables, Budget.at_most(tables.dense, plan.cost.of(metric), metric)).plan
        assert balanced(plan.choices) == pytest.approx(balanced(best.choices), rel=1e-9)
    slopes = np.diff([balanced(plan.choices) for plan in plans]) / np.diff(costs)
    assert (np.diff(slopes) >= -1e-12 * np.abs(slopes).max()).all()  # convex


def test_a_front_of_many_plans_is_thinned_to_some_of_them(tiny_problem: Problem) -> None:
    every, some = (whole_front(tiny_problem.offered, "params", most) for most in (10**6, 10))
    assert len(some) <= 10 < len(every)
    assert [some[0].key, some[-1].key] == [every[0].key, every[-1].key]
    assert {plan.key for plan in some} <= {plan.key for plan in every}


def _set(*path: Any, value: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for part in path[:-1]:
            data = data[part]
        data[path[-1]] = value(data[path[-1]]) if callable(value) else value

    return change


TABLE = ("tables", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("version", value=2), "version: expected 1, got 2"),
        (_set("metric", value="latency"), "a cost without latency"),
        (_set("dense", "params", value=0), "plans that cost less than no params"),
        (_set("dense", "params", value=10**16), "dense.params"),
        (_set("tables", value=[]), "tables: expected"),
        (_set(*TABLE, "layer", value="other"), "tables of other layers"),
        (_set(*TABLE, "scale", value=-1.0), "scale"),
        (_set(*TABLE, "weight", value=0.0), "weight"),
        (_set(*TABLE, "error", 0, value=1e300), "error"),
        (_set(*TABLE, "error", value=lambda own: own[1:]), "columns of several lengths"),
        (_set(*TABLE, "form", 0, value=99), "a candidate of an unknown form"),
        (_set(*TABLE, "ranks", value=lambda own: [[] for _ in own]), "ranks for dense, or none"),
        (_set(*TABLE, "forms", value=lambda own: [["svd", ""] for _ in own]), "0 candidates that keep"),
        (_set(*TABLE, "cost", value=lambda own: {"params": own["params"]}), "a cost without flops"),
        (_set("layers", 0, "kernel_size", value=[3]), "sizes that are not of conv2d"),
        (_set("layers", 0, "stride", value=[0, 0]), "stride"),
    ],
)  # fmt: skip
def test_files_that_make_no_sense_are_refused(
    stored: Path, change: Callable[[Any], None], message: str
) -> None:
    data = json.loads(stored.read_text())
    change(data)
    stored.write_text(json.dumps(data))
    with pytest.raises(InputError, match=rf"tables\.json.*{message}"):
        read_tables(stored)


def test_candidates_that_no_layer_can_take_are_refused(tiny_problem: Problem, stored: Path) -> None:
    data = json.loads(stored.read_text())
    for table in data["tables"]:
        table["ranks"] = [[1000 for _ in ranks] for ranks in table["ranks"]]
    stored.write_text(json.dumps(data))
    tables: Tables = read_tables(stored).content()
    with pytest.raises(InputError, match=r"tables, layer \w+: expected \d+ ranks of at most .*got \[1000"):
        further_plan(tables, Budget.of(tables.dense, 0.5))


def test_limits_in_conflict_are_told_in_times_as_they_would_be_measured() -> None:
    """One layer, whose few parameters take 0.225 of the dense time by its parts, and 0.38 by what plans took."""
    layer = Layer("l", "linear", 40, 50, (), (), (), (), "zeros", 1, False, (Call((), ()),))
    dense = Cost(params=2000, flops=9, latency=4000)
    few = Candidate("svd", "", (1,), Cost(params=10, flops=1, latency=900), 1.0)
    quick = Candidate("svd", "", (2,), Cost(params=100, flops=2, latency=90), 1.0)
    table = Table(layer, (few, quick, Candidate(DENSE, "", (), dense, 0.0)), 9.0)
    times = Times(TimedOn("torch", "2.6", 1, 1), ((0.5, 0.6),))
    tables = Tables((layer,), dense, (table,), times)
    limits = (("latency", Kept(fraction=0.3)),)
    with pytest.raises(BudgetError, match=r"params 0\.1k \(.*\) or latency 0\.3800 \(.*\) can be met"):
        further_plan(tables, Budget.of(dense, Kept(amount=50), "params", limits))
    for params, share in ((50, 0.38), (100, 0.3)):
        also = (("latency", Kept(fraction=share)),)
        found = further_plan(tables, Budget.of(dense, Kept(amount=params), "params", also))
        assert found.scores["time_predicted"] == pytest.approx(
            0.38 if params == 50 else 1 - 0.9775 * 0.8, abs=1e-3
        )
