"""Budgets of time, on a runtime whose times are exact but not what the parts add up to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

import ranksearch
from ranksearch.costs import factor_macs, layer_cost
from ranksearch.errors import BudgetError, InputError
from ranksearch.networks import Layer
from ranksearch.planning import CandidateConfig, Problem, inspect_network, prepare
from ranksearch.searching import SearchSettings, search
from ranksearch.searching import timed as module
from ranksearch.searching.timed import chains_of
from ranksearch.tasks import Task
from ranksearch.timing import (
    RUNTIMES,
    Chains,
    Part,
    Prepared,
    Profile,
    Ratio,
    Runtime,
    Session,
    Timer,
    TimingSettings,
    Workload,
)
from ranksearch.timing import measure as measuring

METRICS = ("params", "flops", "latency")


class Model(Session):
    def __init__(self, parts: dict[Part, float], extra: float) -> None:
        self.parts, self.extra = parts, extra

    @property
    def seconds(self) -> float:
        return sum(self.parts.values()) + self.extra

    def run(self) -> None:
        pass

    def profile(self, passes: int) -> Profile:
        return Profile(self.parts, self.seconds)


class Ready(Prepared):
    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers

    def session(self, chains: Chains) -> Session:
        parts: dict[Part, float] = {}
        for layer in self.layers:
            own = (
                factor_macs(layer, chains[layer.name])
                if layer.name in chains
                else [layer_cost(layer).flops // 2]
            )
            parts |= {Part(layer.name, k): 1e-9 * work for k, work in enumerate(own)}
        # Changes of layout between chains, which no part shows.
        dense = 0.5e-9 * sum(layer_cost(layer).flops for layer in self.layers)
        return Model(parts, dense * (0.1 + 0.02 * len(chains)))


class Layouts(Runtime):
    """A machine that takes extra time for every layer that is factorised."""

    name: ClassVar[str] = "layouts"

    def version(self) -> str:
        return "1"

    def prepare(self, workload: Workload) -> Prepared:
        return Ready(workload.layers)


def exact(self: Timer, chains: Chains) -> Ratio:
    ratio = self.prepared.session(chains).seconds / self.prepared.session({}).seconds  # type: ignore[attr-defined]
    return Ratio(ratio, ratio, ratio)


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> None:
    RUNTIMES._known["layouts"] = Layouts()
    monkeypatch.setattr(measuring, "_each", lambda session, passes: [session.seconds] * passes)
    monkeypatch.setattr(Timer, "ratio", exact)


@pytest.fixture(scope="module")
def problem(tiny_task: Task, tmp_path_factory: pytest.TempPathFactory) -> Problem:
    RUNTIMES._known["layouts"] = Layouts()
    task = replace(tiny_task, cache=tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(measuring, "_each", lambda session, passes: [session.seconds] * passes)
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
    measured = problem.timer.ratio(chains_of(problem, result.plan))
    assert result.scores["time"] == measured.median <= budget
    assert result.plan.cost.of("latency") == pytest.approx(
        measured.median * problem.dense.of("latency"), abs=1
    )
    assert result.scores["time_predicted"] != measured.median


def test_what_was_found_is_not_measured_again(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SearchSettings(budgets=(0.8,), metric="latency")
    (first,) = search(problem, settings)
    monkeypatch.setattr(Timer, "ratio", None)
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


def test_trials_are_refused() -> None:
    with pytest.raises(
        InputError, match="expected no trials and the allocator knapsack for a budget of latency"
    ):
        SearchSettings(budgets=(0.5,), metric="latency", n_trials=3)


def test_no_more_plans_are_measured_than_promised(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0

    def counted(self: Timer, chains: Chains) -> Ratio:
        nonlocal count
        count += 1
        return exact(self, chains)

    monkeypatch.setattr(Timer, "ratio", counted)
    search(problem, SearchSettings(budgets=(0.75,), metric="latency"))
    assert 1 <= count <= module.TRIES


def test_from_python_to_a_folder(problem: Problem, tmp_path: Path) -> None:
    task = problem.task
    result = ranksearch.search(task, 0.9, metric="latency", runtime="layouts", rank_multiple=1)
    compressed = ranksearch.compress(
        task, result.plan, config=ranksearch.CompressConfig(epochs=0, iterations=3)
    )
    ranksearch.save(tmp_path / "out", task, result, compressed)
    assert ranksearch.load(tmp_path / "out", task.model) is not None
