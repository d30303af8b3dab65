"""Methods at equal measured time: this project's plans, those of the literature, and channel pruning."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from benches import RESNET20, Bench, setting
from torch import nn

from ranksearch.compression import CompressConfig, compress
from ranksearch.costs import Budget
from ranksearch.errors import BudgetError
from ranksearch.networks import head, repeated
from ranksearch.objectives import Scoring
from ranksearch.planning import Choice, Plan, Problem, analytic
from ranksearch.searching import SearchSettings, search
from ranksearch.searching.baselines import ALLOCATORS, Context, Evaluations
from ranksearch.searching.timed import ratio_of
from ranksearch.tasks import Drop, answers
from ranksearch.timing import RUNTIMES, Ratio, Workload, compare

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "combinations"))  # for structured pruning

HALVINGS = 7
"""Steps of the search for the FLOPs at which a model takes a certain time."""

TURNS = 21
"""Turns in which a pruned model and the dense one alternate, as with plans."""

Made = TypeVar("Made")

METHODS = ("ranksearch, time", "ranksearch, FLOPs", "aimet", "balf", "pruning")


@dataclass(frozen=True)
class Entry:
    """A method's model, and its time over the dense model's; none where nothing is fast enough."""

    method: str
    model: nn.Module | None = None
    ratio: Ratio | None = None


def comparison(bench: Bench, budget: float, methods: tuple[str, ...] = METHODS) -> list[dict[str, Any]]:
    """A row for each method: the model with the most FLOPs that meets the budget, or this project's plan for the time.

    `behind` is what it loses against the first method on the same test images, with its standard error.
    """
    entries = [entry(bench, method, budget) for method in methods]
    rows = [setting(bench.given, budget) | {"method": each.method, **_timed(each.ratio)} for each in entries]
    made = [(row, each.model) for row, each in zip(rows, entries, strict=True) if each.model is not None]
    if bench.judged and made:
        found = answers([model for _, model in made], bench.task, "test")
        assert found is not None, "a trained network has labelled test images"
        for (row, _), own in zip(made, found, strict=True):
            behind = Drop.of(found[0].scores, own.scores)
            of_own = Drop.of(0 * own.scores, -own.scores)
            row |= {"accuracy": of_own.mean, "stderr": of_own.stderr}
            row |= {"behind": behind.mean, "behind_stderr": behind.stderr}
    return rows


def entry(bench: Bench, method: str, budget: float) -> Entry:
    """The model of a method within a budget of time."""
    if method == "pruning":
        return Entry(method, *_most(budget, partial(pruned, bench)))
    if method == "ranksearch, time":
        settings = SearchSettings(budgets=(budget,), metric="latency", seed=bench.given.seed)
        (own,) = search(bench.problem(), settings)
        ratio = Ratio(own.scores["time"], own.scores["time_low"], own.scores["time_high"])
        return Entry(method, _delivered(bench, own.plan), ratio)
    published = None if method == "ranksearch, FLOPs" else method
    problem = bench.counted(published)
    choose = allocation(problem, published, bench.given)

    def plan_of(fraction: float) -> tuple[Plan, Ratio]:
        plan = problem.plan(choose(Budget.of(problem.dense, fraction, "flops")))
        return plan, ratio_of(problem, plan)

    plan, ratio = _most(budget, plan_of)
    if plan is None:
        return Entry(method)
    # A method of the literature is judged by the plain factorisation that it was published with.
    return Entry(method, problem.build(plan) if published else _delivered(bench, plan), ratio)


def allocation(problem: Problem, method: str | None, given: argparse.Namespace) -> Callable[[Budget], Choice]:
    """How a method allocates within FLOPs; None stands for this project's analytic plan."""
    if method is None:
        return lambda budget: analytic(problem.tables, budget)
    scoring = Scoring(problem, seed=given.seed)
    scores = Evaluations(lambda choice: scoring.recalibrated(problem.plan(choice)).divergence.mean)
    return lambda budget: ALLOCATORS.get(method).allocate(Context(problem, budget, scores, given.seed))


def pruned(bench: Bench, fraction: float) -> tuple[nn.Module, Ratio]:
    """The dense model with channels pruned to a fraction of its FLOPs, and its time."""
    from pruning import classifier, prune, residual_ends

    task, given = bench.task, bench.given
    spared = residual_ends if given.model == RESNET20 else classifier
    model = prune(task, task.model, int(fraction * bench.network.cost.flops), spared)
    assert bench.network.timer is not None
    batch = repeated(head(task.example, 1), given.batch)
    other = RUNTIMES.get(given.runtime).prepare(Workload(model, (), batch, given.threads, task.laid_out))
    sessions = (each.session({}) for each in (bench.network.timer.prepared, other))
    return model, Ratio.of(compare(*sessions, TURNS))


def _most(
    wanted: float, make: Callable[[float], tuple[Made, Ratio]]
) -> tuple[Made, Ratio] | tuple[None, None]:
    """What is made of the largest fraction of the FLOPs whose time, measured, is at most the wanted one."""
    low, high = 0.0, 1.0
    best: tuple[Made, Ratio] | tuple[None, None] = (None, None)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        try:
            made, ratio = make(middle)
        except BudgetError:
            low = middle
            continue
        if ratio.median <= wanted:
            best, low = (made, ratio), middle
        else:
            high = middle
    return best


def _delivered(bench: Bench, plan: Plan) -> nn.Module:
    """As a run delivers it, without fine-tuning."""
    return compress(bench.task, plan, config=CompressConfig(epochs=0), layers=bench.network.layers).model


def _timed(ratio: Ratio | None) -> dict[str, float]:
    return {} if ratio is None else {"time": ratio.median, "low": ratio.low, "high": ratio.high}
