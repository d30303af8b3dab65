"""The real ResNet-20 on CIFAR-10, where RANKSEARCH_CIFAR10 (folders) and RANKSEARCH_RESNET20 (weights) name them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import Subset

from ranksearch.compression import CompressConfig, compress
from ranksearch.costs import Budget, measure_cost
from ranksearch.objectives import Scoring
from ranksearch.planning import Problem, analytic, prepare, uniform
from ranksearch.runs import load_options
from ranksearch.runs.tasks import build_task
from ranksearch.tasks import evaluate

DATA, WEIGHTS = os.environ.get("RANKSEARCH_CIFAR10"), os.environ.get("RANKSEARCH_RESNET20")
STUDY = Path(__file__).parent.parent / "studies" / "resnet20_cifar10" / "study.toml"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (DATA and WEIGHTS), reason="RANKSEARCH_CIFAR10 and RANKSEARCH_RESNET20 not set"),
]


@pytest.fixture(scope="module")
def problem() -> Iterator[Problem]:
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    options = load_options({"data": f"imagefolder:{DATA}", "weights": WEIGHTS}, STUDY)
    task = build_task(options)
    assert task.test is not None
    few = torch.randperm(10_000, generator=torch.Generator().manual_seed(0))[:2000].tolist()
    yield prepare(replace(task, test=Subset(task.test, few)))
    torch.set_num_threads(before)


def test_the_dense_model_is_the_one_of_the_study(problem: Problem) -> None:
    found = evaluate(problem.task.model, problem.task, "test")
    assert found is not None
    assert abs(found.mean - 87.99) < 3 * found.stderr
    assert problem.dense.params == 269_722


@pytest.mark.parametrize("metric", ["params", "flops"])
def test_knapsack_beats_uniform_at_equal_cost(problem: Problem, metric: str) -> None:
    within = Budget.of(problem.dense, 0.3, metric)
    scoring = Scoring(problem)
    plans = [problem.plan(f(problem.tables, within)) for f in (analytic, uniform)]
    assert all(0.99 * within.limit <= plan.cost.of(metric) <= within.limit for plan in plans)
    best, even = (scoring.recalibrated(plan).divergence for plan in plans)
    assert best.mean + 3 * best.stderr < even.mean


def test_three_tenths_of_the_parameters_without_finetuning(problem: Problem) -> None:
    within = Budget.of(problem.dense, 0.3, "params")
    plan = problem.plan(analytic(problem.tables, within))
    done = compress(problem.task, plan, config=CompressConfig(iterations=100, epochs=0))
    assert measure_cost(done.model, problem.task.example).params <= within.limit
    found = evaluate(done.model, problem.task, "test")
    assert found is not None
    assert found.mean > 82
