"""A network on a runtime: its candidates with their times, plans within budgets of time, and what they take."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from ranksearch.compression import CompressConfig, compress
from ranksearch.costs import ALWAYS, Budget, counted
from ranksearch.planning import (
    CandidateConfig,
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
from ranksearch.searching.baselines import ALLOCATORS
from ranksearch.searching.baselines.published import prepare_published
from ranksearch.searching.timed import ratio_of
from ranksearch.tasks import Task, evaluate
from ranksearch.timing import TimingSettings

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
        if given.input_size:
            options = options.model_copy(update={"input_size": (given.input_size,), "crop_pct": 1.0})
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
    return setting(given, budget) | {
        "time": result.scores["time"],
        "low": result.scores["time_low"],
        "high": result.scores["time_high"],
        "predicted": result.scores["time_predicted"],
        "flops": result.plan.cost.flops / problem.dense.flops,
        **accuracy_of(accuracy),
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
    return setting(bench.given) | {
        "plans": count,
        "error": float(np.median(np.abs(predicted - measured) / measured)),
        "spearman": float(spearmanr(predicted, measured).statistic),
        "pairs": found,
    }


def _least(problem: Problem) -> float:
    """The shortest predicted time over the dense model's."""
    saved = sum(int(t.costs("latency").max() - t.costs("latency").min()) for t in problem.tables)
    return 1 - saved / problem.dense.of("latency") + 1e-3


def setting(given: argparse.Namespace, budget: float | None = None) -> dict[str, Any]:
    """What was asked, as a row keeps it."""
    found = {"network": _short(given.model), "runtime": given.runtime, "batch": given.batch}
    return found if budget is None else found | {"budget": budget}


def accuracy_of(found: Any) -> dict[str, float]:
    """An accuracy as a row keeps it; nothing where there is none."""
    return {} if found is None else {"accuracy": found.mean, "stderr": found.stderr}


def _short(model: str) -> str:
    return model.rpartition(":")[2]
