"""What delivered models take: sizes by hand, times on an exact runtime, and one that cannot run the model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
import torch

from ranksearch.costs import Budget
from ranksearch.errors import InputError
from ranksearch.networks import Layer
from ranksearch.planning import (
    Gauge,
    Network,
    PlanRecord,
    Problem,
    analytic,
    make_record,
    read_plan,
    to_plan,
    write_plan,
)
from ranksearch.timing import (
    RUNTIMES,
    Chains,
    Prepared,
    Profile,
    Profiled,
    Runtime,
    Session,
    Timer,
    TimingSettings,
    Workload,
    measure,
)


class Model(Session):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self) -> None:
        pass

    def profile(self, passes: int) -> Profile:
        raise AssertionError("nothing asks for the times of parts")


class Ready(Prepared):
    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = layers

    def session(self, chains: Chains) -> Session:
        return Model(0.002 * (1 + len(chains)))

    def profiled(self, chains: Chains) -> Profiled:
        raise AssertionError("nothing asks for the times of parts")


class Slow(Runtime):
    """A machine on which every factorised layer takes as long as the dense model."""

    name: ClassVar[str] = "slow"
    cpu_only: ClassVar[bool] = True

    def version(self) -> str:
        return "7"

    def prepare(self, workload: Workload) -> Prepared:
        return Ready(workload.layers)


class Broken(Slow):
    name: ClassVar[str] = "broken"

    def prepare(self, workload: Workload) -> Prepared:
        raise InputError("runtime: expected a package, got none.")


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The times that were asked of sessions."""
    found: list[float] = []

    def each(session: Model, passes: int) -> list[float]:
        found.append(session.seconds)
        return [session.seconds] * passes

    monkeypatch.setattr(measure, "_each", each)
    monkeypatch.setattr(RUNTIMES, "_known", dict(RUNTIMES._known) | {"slow": Slow(), "broken": Broken()})
    return found


def gauge(problem: Problem, runtime: str, batch: int = 3, cache: Path | None = None) -> Gauge:
    network = Network(problem.layers, problem.dense)
    return Gauge(replace(problem.task, cache=cache), network, TimingSettings(runtime, batch, 1))


def test_sizes_and_times(tiny_problem: Problem) -> None:
    plan = tiny_problem.plan(analytic(tiny_problem.tables, Budget.of(tiny_problem.dense, 0.5)))
    factorised = sum(not candidate.is_dense for candidate in plan.choices.values())
    model = tiny_problem.build(plan)
    found = gauge(tiny_problem, "slow").footprint(model, plan)
    saved = sum(t.numel() * t.element_size() for t in model.state_dict().values())
    assert found.compressed.bytes == saved < found.dense.bytes
    assert found.dense.bytes - saved == 4 * (tiny_problem.dense.params - plan.cost.params)
    one = gauge(tiny_problem, "slow", batch=1).footprint(model, plan)
    assert found.dense.activation_bytes == 3 * one.dense.activation_bytes  # type: ignore[operator]
    time = found.time
    assert time is not None
    assert (time.runtime, time.version, time.threads, time.batch) == ("slow", "7", 1, 3)
    assert time.processor
    assert time.dense_seconds == 0.002
    assert time.ratio == time.low == time.high == pytest.approx(1 + factorised)
    assert time.seconds == pytest.approx(0.002 * (1 + factorised))


def test_what_cannot_be_measured_costs_a_warning(
    tiny_problem: Problem, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tiny_problem.plan(tuple(0 for _ in tiny_problem.tables))
    own = gauge(tiny_problem, "broken")
    found = [own.footprint(tiny_problem.task.model, plan) for _ in range(2)]
    assert [x.time for x in found] == [None, None]
    assert caplog.text.count("time: not measured on broken") == 1
    assert "expected a package" in caplog.text

    def refuse(*_: object) -> int:
        raise RuntimeError("no storage")

    monkeypatch.setattr("ranksearch.planning.footprint.peak_activation_bytes", refuse)
    sizes = gauge(tiny_problem, "slow").footprint(tiny_problem.task.model, plan)
    assert sizes.dense.activation_bytes is None
    assert sizes.dense.bytes > 0
    assert "activation memory: not counted (RuntimeError: no storage)" in caplog.text


def test_a_time_is_measured_once(tiny_problem: Problem, tmp_path: Path, counted: list[float]) -> None:
    plan = tiny_problem.plan(analytic(tiny_problem.tables, Budget.of(tiny_problem.dense, 0.5)))
    first = gauge(tiny_problem, "slow", cache=tmp_path).ratio(plan)
    assert counted
    counted.clear()
    assert gauge(tiny_problem, "slow", cache=tmp_path).ratio(plan) == first
    assert not counted
    other = gauge(tiny_problem, "slow", batch=4, cache=tmp_path).ratio(plan)
    assert (other, bool(counted)) == (first, True), "another batch is another measurement"


def test_what_a_budget_of_time_measured_counts(
    tiny_problem: Problem, tmp_path: Path, counted: list[float]
) -> None:
    own = gauge(tiny_problem, "slow", cache=tmp_path)
    chains = {tiny_problem.tables[0].layer.name: ()}
    assert isinstance(own.timer, Timer)
    ratio = own.timer.ratio(chains)
    counted.clear()
    assert own.timer.brief_ratio(chains) == ratio
    assert not counted


@pytest.mark.parametrize(
    ("seconds", "least", "most"), [(1e-4, 42, 42), (0.05, 42, 42), (0.2, 14, 14), (2.0, 10, 10)]
)
def test_slow_models_take_fewer_turns(counted: list[float], seconds: float, least: int, most: int) -> None:
    dense = Model(seconds)
    ratios = measure.compare_briefly(dense, dense, 21)
    assert least <= len(counted) - 1 <= most
    assert ratios == [1.0] * (len(counted) // 2)


def test_plans_that_were_not_carried_out_say_nothing_of_it(tiny_problem: Problem, tmp_path: Path) -> None:
    plan = tiny_problem.plan(analytic(tiny_problem.tables, Budget.of(tiny_problem.dense, 0.5)))
    record = make_record(
        tiny_problem.task.model, tiny_problem.layers, plan, example=torch.zeros(1, 3, 8, 8),
        dense=tiny_problem.dense, budget=Budget.of(tiny_problem.dense, 0.5), seed=0,
    )  # fmt: skip
    path = tmp_path / "plan.json"
    write_plan(path, record)
    assert "footprint" not in json.loads(path.read_text())
    assert read_plan(path) == record
    found = gauge(tiny_problem, "slow").footprint(tiny_problem.build(plan), plan)
    delivered: PlanRecord = record.model_copy(update={"footprint": found})
    write_plan(path, delivered)
    assert read_plan(path) == delivered
    assert to_plan(delivered).key == plan.key
