"""Problems on paper, and contexts for them."""

from __future__ import annotations

from typing import Protocol

import pytest

from ranksearch.costs import Budget
from ranksearch.planning import Problem
from ranksearch.searching.baselines import Context
from ranksearch.testing import made_up_context, paper_problems


@pytest.fixture(scope="session")
def full_problem() -> Problem:
    return paper_problems()["full"]


@pytest.fixture(scope="session")
def svd_problem() -> Problem:
    return paper_problems()["svd"]


class MakeContext(Protocol):
    def __call__(self, problem: Problem, budget: float, metric: str = "params") -> Context: ...


@pytest.fixture(scope="session")
def make_context() -> MakeContext:
    return lambda problem, budget, metric="params": made_up_context(
        problem, Budget.of(problem.dense, budget, metric)
    )
