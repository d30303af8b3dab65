"""Budgets of time, on a runtime whose times are exact but not what the parts add up to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import ranksearch
from ranksearch.costs import Cost
from ranksearch.errors import BudgetError, InputError
from ranksearch.planning import (
    Candidate,
    CandidateConfig,
    Plan,
    Problem,
    chains_of,
    inspect_network,
    least_cost,
    prepare,
    whole_front,
)
from ranksearch.searching import SearchSettings, search
from ranksearch.searching import timed as module
from ranksearch.searching.baselines import ALLOCATORS
from ranksearch.tasks import Task
from ranksearch.testing import PaperRuntime, registered
from ranksearch.timing import Chains, Ratio, Timer, TimingSettings, timer

METRICS = ("params", "flops", "latency")


LAYOUTS = PaperRuntime("layouts", extra=0.02)
"""It takes extra time for every layer that is factorised."""


@pytest.fixture(autouse=True)
def _layouts() -> None:
    registered(LAYOUTS)


@pytest.fixture(scope="module")
def problem(tiny_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Problem:
    registered(LAYOUTS)
    task = replace(tiny_task, cache=tmp_path_factory.mktemp("cache"))
    network = inspect_network(task, metrics=METRICS, timing=TimingSettings("layouts", 1, 1))
    config = CandidateConfig(metrics=METRICS, rank_multiple=(("*", 1),))
    return prepare(task, network=network, config=config)


def test_every_candidate_is_faster_than_the_dense_layer(problem: Problem) -> None:
    for table in problem.tables:
        times = [c.cost.of("latency") for c in table.candidates]
        assert max(times) == table.dense.of("latency")
        assert [c for c in table.candidates if c.is_dense]
    assert problem.dense.of("latency") == round(1e9 * problem.timer.seconds)  # type: ignore[union-attr]


@pytest.mark.parametrize("budget", [0.9, 0.8, 0.7])
def test_the_measured_time_meets_the_budget(problem: Problem, budget: float) -> None:
    (result,) = search(problem, SearchSettings(budgets=(budget,), metric="latency"))
    assert problem.timer is not None
    measured = problem.timer.ratio(chains_of(problem.layers, result.plan))
    assert result.scores["time"] == measured.median <= budget
    assert result.plan.cost.of("latency") == pytest.approx(
        measured.median * problem.dense.of("latency"), abs=1
    )
    assert result.scores["time_predicted"] != measured.median


def test_what_was_found_is_not_measured_again(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SearchSettings(budgets=(0.8,), metric="latency")
    (first,) = search(problem, settings)
    monkeypatch.setattr(timer, "compare", None)
    (again,) = search(problem, settings)
    assert again.plan.key == first.plan.key
    assert again.scores == first.scores


def test_a_further_limit_holds_too(problem: Problem) -> None:
    settings = SearchSettings(budgets=(0.6,), metric="params", limits=(("latency", 0.85),))
    (result,) = search(problem, settings)
    assert result.scores["time"] <= 0.85
    assert result.plan.cost.params <= 0.6 * problem.dense.params


def test_a_budget_that_no_plan_meets_names_the_fastest(problem: Problem) -> None:
    with pytest.raises(
        BudgetError, match=r"got 0\.01; the fastest of the plans measured takes 0\.\d+ of the dense"
    ):
        search(problem, SearchSettings(budgets=(0.01,), metric="latency"))


def test_a_time_is_a_budget_of_latency_alone(problem: Problem) -> None:
    amount = f"{problem.dense.of('latency') * 0.8 / 1e6:.6f}ms"
    (result,) = search(problem, SearchSettings(budgets=(amount,), metric="latency"))
    assert result.scores["time"] <= 0.8
    for metric, budget in (("params", "6ms"), ("latency", "54k")):
        with pytest.raises(InputError, match=f"budget: expected for {metric} a fraction or"):
            search(problem, SearchSettings(budgets=(budget,), metric=metric))


@pytest.mark.parametrize("allocator", ALLOCATORS.names())
def test_every_allocator_meets_a_time(problem: Problem, allocator: str) -> None:
    settings = SearchSettings(budgets=(0.8,), metric="latency", allocator=allocator, n_trials=None)
    if allocator != "knapsack":
        settings = replace(settings, n_trials=3)
    (result,) = search(problem, settings)
    assert problem.timer is not None
    measured = problem.timer.ratio(chains_of(problem.layers, result.plan))
    assert result.scores["time"] == measured.median <= 0.8
    assert result.origin == ("analytic" if allocator == "knapsack" else allocator)


@pytest.mark.parametrize("rest", [{"finetune_trials": 0}, {"finetune_trials": 2, "finetune_steps": 2}])
def test_trials_keep_to_the_measured_time(problem: Problem, rest: dict[str, int]) -> None:
    """None of those that were scored is predicted to take longer than the analytic plan may; the best is measured."""
    settings = SearchSettings(budgets=(0.8,), metric="latency", n_trials=5, **rest)  # type: ignore[arg-type]
    (analytic,) = search(problem, replace(settings, n_trials=None))
    (result,) = search(problem, settings)
    assert problem.timer is not None
    measured = problem.timer.ratio(chains_of(problem.layers, result.plan))
    assert result.scores["time"] == measured.median <= 0.8
    assert {record.budget for record in result.records} == {result.budget} == {analytic.budget}
    assert analytic.plan.key in {record.plan.key for record in result.records}
    assert len({record.plan.key for record in result.records}) > 1
    own = next(record for record in result.records if record.plan.key == result.plan.key)
    assert own.plan.cost == result.plan.cost
    score = "finetune" if rest["finetune_trials"] else "refitted"
    assert score in result.scores


def test_a_trial_that_turns_out_too_slow_gives_way(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SearchSettings(budgets=(0.8,), metric="latency", n_trials=5, finetune_trials=0)
    whole, measured = Timer.ratio, list[Chains]()

    def noted(self: Timer, chains: Chains) -> Ratio:
        measured.append(chains)
        return whole(self, chains)

    def slow(self: Timer, chains: Chains) -> Ratio:
        return whole(self, chains) if chains in measured else Ratio(0.81, 0.8, 0.82)

    monkeypatch.setattr(Timer, "ratio", noted)
    (analytic,) = search(problem, replace(settings, n_trials=None))
    monkeypatch.setattr(Timer, "ratio", slow)
    (result,) = search(problem, settings)
    assert result.plan.key == analytic.plan.key


def test_no_more_plans_are_measured_than_promised(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    count, whole = 0, Timer.ratio

    def counted(self: Timer, chains: Chains) -> Ratio:
        nonlocal count
        count += 1
        return whole(self, chains)

    monkeypatch.setattr(Timer, "ratio", counted)
    search(problem, SearchSettings(budgets=(0.75,), metric="latency"))
    assert 1 <= count <= module.TRIES


def test_times_that_contradict_each_other_do_not_end_the_search(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that is predicted to be faster than the first may be measured to be slower, by noise."""
    measured: list[float] = []

    whole = Timer.ratio

    def noisy(self: Timer, chains: Chains) -> Ratio:
        measured.append({0: 0.85, 1: 0.87}.get(len(measured), whole(self, chains).median))
        return Ratio(measured[-1], measured[-1], measured[-1])

    monkeypatch.setattr(Timer, "ratio", noisy)
    (result,) = search(problem, SearchSettings(budgets=(0.8,), metric="latency"))
    assert result.scores["time"] <= 0.8
    assert 2 < len(measured) <= module.TRIES


def test_candidates_that_were_timed_too_short_are_found_out(problem: Problem) -> None:
    """The plan is about as good as with the right times, though half of the layers' times of one form are wrong."""
    settings = SearchSettings(budgets=(0.7,), metric="latency")
    (right,) = search(problem, settings)
    most = max({c.decomposition for c in right.plan.choices.values() if not c.is_dense})
    wrong = tuple(
        replace(
            table, candidates=tuple(halved(c) if c.decomposition == most else c for c in table.candidates)
        )
        for table in problem.tables
    )
    (found,) = search(replace(problem, tables=wrong), settings)
    assert found.scores["time"] <= 0.7
    assert balanced(problem, found.plan) <= 1.1 * balanced(problem, right.plan)
    assert found.tables is not None
    assert found.tables.times is not None
    (predicted,) = (p for p, taken in found.tables.times.plans if taken == found.scores["time"])
    assert predicted == pytest.approx(found.scores["time"], abs=0.1)


def halved(candidate: Candidate) -> Candidate:
    amounts = candidate.cost.amounts
    return replace(candidate, cost=Cost(**amounts | {"latency": amounts["latency"] // 2}))


def balanced(problem: Problem, plan: Plan) -> float:
    return sum(plan.choices[t.layer.name].error / t.scale**0.5 for t in problem.tables)


def test_from_python_to_a_folder(problem: Problem, tmp_path: Path) -> None:
    task = problem.task
    result = ranksearch.search(task, 0.9, metric="latency", runtime="layouts", rank_multiple=1)
    compressed = ranksearch.compress(
        task, result.plan, config=ranksearch.CompressConfig(epochs=0, iterations=3)
    )
    ranksearch.save(tmp_path / "out", task, result, compressed)
    assert ranksearch.load(tmp_path / "out", task.model) is not None


def test_tables_know_what_plans_took(problem: Problem) -> None:
    results = search(problem, SearchSettings(budgets=(0.8, 0.7), metric="latency"))
    tables = results[0].tables
    assert tables is not None
    assert results[1].tables == tables
    assert tables.times is not None
    assert str(tables.times.on) == "layouts 1, 1, 0.02 (batch 1, 1 thread)"
    for result in results:
        assert (result.scores["time_predicted"], result.scores["time"]) in tables.times.plans


@pytest.mark.parametrize("metric", ["latency", "params"])
def test_a_further_plan_takes_what_is_predicted_of_it(problem: Problem, metric: str) -> None:
    """On a machine that needs extra time for every factorised layer, which no part shows."""
    (first, _) = search(problem, SearchSettings(budgets=(0.9, 0.7), metric="latency"))
    assert first.tables is not None
    limits = {} if metric == "latency" else {"latency": 0.8}
    found = ranksearch.plan(first, 0.8, metric=metric, limits=limits)
    assert problem.timer is not None
    measured = problem.timer.ratio(chains_of(problem.layers, found.plan)).median
    predicted = found.scores["time_predicted"]
    assert predicted <= 0.8
    assert predicted == pytest.approx(measured, abs=0.03)
    assert found.plan.cost.of("latency") == pytest.approx(predicted * problem.dense.of("latency"), abs=1)
    # The parts alone would have told another time.
    picked = problem.offered.cost(found.plan.choices.values()).of("latency") / problem.dense.of("latency")
    assert abs(picked - measured) > abs(predicted - measured)


def test_what_a_further_plan_can_take_least_is_told_as_it_would_be_measured(problem: Problem) -> None:
    (first,) = search(problem, SearchSettings(budgets=(0.8,), metric="latency"))
    assert first.tables is not None
    assert first.tables.times is not None
    least = least_cost(problem.tables, first.budget) / first.budget.dense
    told = first.tables.times.measured(least)
    with pytest.raises(BudgetError) as caught:
        ranksearch.plan(first, 0.01)
    assert told > least
    assert f"budget: expected at least {told:.3f}" in str(caught.value)[:50]


def test_the_whole_front_is_in_times_as_they_would_be_measured(problem: Problem) -> None:
    (first,) = search(problem, SearchSettings(budgets=(0.8,), metric="latency"))
    assert first.tables is not None
    plans = whole_front(first.tables, "latency")
    shares = [plan.cost.of("latency") / problem.dense.of("latency") for plan in plans]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert problem.timer is not None
    for plan, share in list(zip(plans, shares, strict=True))[::20]:
        measured = problem.timer.ratio(chains_of(problem.layers, plan)).median
        assert share == pytest.approx(measured, abs=0.08)  # plans at 0.8 alone were measured
