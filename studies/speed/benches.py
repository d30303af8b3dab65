"""A network on a runtime: its candidates with their times, plans within budgets of time, and what they take."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ranksearch.compression import CompressConfig, compress
from ranksearch.costs import ALWAYS, Budget, counted
from ranksearch.errors import BudgetError
from ranksearch.objectives import Scoring
from ranksearch.planning import (
    CandidateConfig,
    Choice,
    Network,
    Plan,
    Problem,
    analytic,
    inspect_network,
    make_record,
    prepare,
    usual_multiple,
    write_plan,
)
from ranksearch.runs import RunOptions
from ranksearch.runs.tasks import build_task
from ranksearch.searching import SearchSettings, search
from ranksearch.searching.baselines import ALLOCATORS, Context, Evaluations
from ranksearch.searching.baselines.published import prepare_published
from ranksearch.searching.timed import ratio_of
from ranksearch.tasks import Task, evaluate
from ranksearch.timing import Ratio, TimingSettings

NOISE = f"{Path(__file__).resolve().parent / 'noise.py'}:images"
RESNET20 = f"{Path(__file__).resolve().parents[1] / 'resnet20_cifar10' / 'resnet20.py'}:resnet20"

METRICS = counted("latency")
HALVINGS = 7
"""Steps of the search for the FLOPs at which a plan takes a certain time."""


@dataclass(frozen=True)
class Bench:
    """A task, its network with a timer, and what was asked."""

    task: Task
    network: Network
    given: argparse.Namespace

    @classmethod
    def of(cls, given: argparse.Namespace) -> Bench:
        """Random weights and images where there are none."""
        options = RunOptions(
            model=given.model,
            weights=given.weights or ("none" if given.model != "digits" else None),
            data=given.data or (NOISE if given.model != "digits" else None),
            calibration_size=given.calibration_size if given.data or given.model == "digits" else 24,
            split_seed=42 if given.model == RESNET20 else None,
            batch_size=given.batch_size,
            seed=given.seed,
        )
        task = build_task(options)
        timing = TimingSettings(given.runtime, given.batch, given.threads)
        return cls(task, inspect_network(task, metrics=METRICS, timing=timing), given)

    @property
    def judged(self) -> bool:
        """Whether the network is trained, so that its accuracy says something."""
        return bool(self.given.weights) or self.given.model == "digits"

    def problem(self) -> Problem:
        """This project's candidates, priced."""
        multiple = (
            usual_multiple(METRICS) if self.given.multiple == "auto" else (("*", int(self.given.multiple)),)
        )
        config = CandidateConfig(metrics=METRICS, rank_multiple=multiple)
        return prepare(self.task, network=self.network, config=config, seed=self.given.seed)

    def counted(self, published: str | None = None) -> Problem:
        """Candidates that are not priced, at multiples of 8 unless others are asked for: this project's, or those of a
        method as it was published."""
        config = CandidateConfig() if published is None else ALLOCATORS.get(published).published
        make = prepare if published is None else prepare_published
        multiple = 8 if self.given.multiple == "auto" else int(self.given.multiple)
        own = replace(config, rank_multiple=(("*", multiple),))
        network = replace(self.network, cost=self.network.cost.only(ALWAYS))
        found = make(self.task, network=network, config=own, seed=self.given.seed)
        return replace(found, timer=self.network.timer)

    def delivered(self, plan: Plan) -> Any:
        """The accuracy on test images without fine-tuning; None where the network is not trained."""
        if not self.judged:
            return None
        found = compress(self.task, plan, config=CompressConfig(epochs=0), layers=self.network.layers)
        return evaluate(found.model, self.task, "test")


def row(bench: Bench, budget: float, folder: Path) -> dict[str, Any]:
    """One plan within a budget of time; its plan file goes into the folder."""
    problem = bench.problem()
    (result,) = search(problem, SearchSettings(budgets=(budget,), metric="latency", seed=bench.given.seed))
    accuracy = bench.delivered(result.plan)
    given = bench.given
    name = f"{_short(given.model)}-{given.runtime}-{given.batch}-{budget:g}"
    record = make_record(
        bench.task.model,
        problem.layers,
        result.plan,
        example=bench.task.example,
        dense=problem.dense,
        budget=result.budget,
        seed=given.seed,
        scores=result.scores,
    )
    write_plan(folder / f"{name}.json", record)
    return _setting(given, budget) | {
        "time": result.scores["time"],
        "low": result.scores["time_low"],
        "high": result.scores["time_high"],
        "predicted": result.scores["time_predicted"],
        "flops": result.plan.cost.flops / problem.dense.flops,
        **_accuracy(accuracy),
        "plan": f"{name}.json",
    }


def predictions(bench: Bench, count: int) -> dict[str, Any]:
    """Plans over all budgets, predicted and measured: the median relative error and Spearman's rank correlation."""
    problem = bench.problem()
    least = _least(problem)
    found = []
    for fraction in np.geomspace(least, 0.98, count):
        plan = problem.plan(analytic(problem.tables, Budget.of(problem.dense, float(fraction), "latency")))
        predicted = plan.cost.of("latency") / problem.dense.of("latency")
        found.append((predicted, ratio_of(problem, plan).median))
    predicted, measured = np.array(found).T
    return _setting(bench.given) | {
        "plans": count,
        "error": float(np.median(np.abs(predicted - measured) / measured)),
        "spearman": float(spearmanr(predicted, measured).statistic),
        "pairs": found,
    }


def comparison(bench: Bench, budget: float) -> list[dict[str, Any]]:
    """Methods at equal measured time: the plan with the most FLOPs that meets the budget, and this project's own."""
    (own,) = search(
        bench.problem(), SearchSettings(budgets=(budget,), metric="latency", seed=bench.given.seed)
    )
    ratio = Ratio(own.scores["time"], own.scores["time_low"], own.scores["time_high"])
    rows = [_compared(bench, "ranksearch, time", budget, ratio, bench.delivered(own.plan))]
    for label, method in (("ranksearch, FLOPs", None), ("aimet", "aimet"), ("balf", "balf")):
        problem = bench.counted(method)
        chooses = allocation(problem, method, bench.given)
        plan, ratio = equal_time(problem, chooses, budget)
        accuracy = None if plan is None else _judged(bench, problem, plan, method)
        rows.append(_compared(bench, label, budget, ratio, accuracy))
    return rows


def allocation(problem: Problem, method: str | None, given: argparse.Namespace) -> Callable[[Budget], Choice]:
    """How a method allocates within FLOPs; None stands for this project's analytic plan."""
    if method is None:
        return lambda budget: analytic(problem.tables, budget)
    scoring = Scoring(problem, seed=given.seed)
    scores = Evaluations(lambda choice: scoring.recalibrated(problem.plan(choice)).divergence.mean)
    return lambda budget: ALLOCATORS.get(method).allocate(Context(problem, budget, scores, given.seed))


def equal_time(
    problem: Problem, allocate: Callable[[Budget], Choice], wanted: float
) -> tuple[Plan | None, Ratio | None]:
    """The plan with the most FLOPs whose time, measured, is at most the wanted share of the dense model's."""
    low, high = 0.0, 1.0
    best: tuple[Plan | None, Ratio | None] = (None, None)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        try:
            plan = problem.plan(allocate(Budget.of(problem.dense, middle, "flops")))
        except BudgetError:
            low = middle
            continue
        ratio = ratio_of(problem, plan)
        if ratio.median <= wanted:
            best, low = (plan, ratio), middle
        else:
            high = middle
    return best


def _judged(bench: Bench, problem: Problem, plan: Plan, method: str | None) -> Any:
    """As delivered; for a method of the literature the plain factorisation that it was published with."""
    if method is None or not bench.judged:
        return bench.delivered(plan)
    return evaluate(problem.build(plan), bench.task, "test")


def _least(problem: Problem) -> float:
    """The shortest predicted time over the dense model's."""
    saved = sum(int(t.costs("latency").max() - t.costs("latency").min()) for t in problem.tables)
    return 1 - saved / problem.dense.of("latency") + 1e-3


def _setting(given: argparse.Namespace, budget: float | None = None) -> dict[str, Any]:
    found = {"network": _short(given.model), "runtime": given.runtime, "batch": given.batch}
    return found if budget is None else found | {"budget": budget}


def _compared(bench: Bench, method: str, budget: float, ratio: Ratio | None, accuracy: Any) -> dict[str, Any]:
    times = {} if ratio is None else {"time": ratio.median, "low": ratio.low, "high": ratio.high}
    return _setting(bench.given, budget) | {"method": method, **times, **_accuracy(accuracy)}


def _accuracy(found: Any) -> dict[str, float]:
    return {} if found is None else {"accuracy": found.mean, "stderr": found.stderr}


def _short(model: str) -> str:
    return model.rpartition(":")[2]
