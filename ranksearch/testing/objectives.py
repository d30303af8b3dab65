"""Contract tests of objectives, on a network small enough to be scored in an instant.

Subclass `ObjectiveContract` under a name that begins with `Test`, with a fixture `objective` that returns your class.
"""

from __future__ import annotations

import copy
from functools import cache

import pytest
import torch

from ranksearch.costs import Budget
from ranksearch.objectives import Objective, Scoring
from ranksearch.planning import Plan, Problem, knapsack
from ranksearch.testing.allocators import cheapest
from ranksearch.testing.material import tiny_problem, tiny_task


@cache
def small_problem() -> Problem:
    """Shared by all checks, since it takes a second to prepare."""
    return tiny_problem(tiny_task())


def plan_of(problem: Problem, budget: Budget) -> Plan:
    """The plan with the least sum of errors within a budget."""
    return problem.plan(knapsack(problem.tables, budget))


class ObjectiveContract:
    """Checks of one objective. Scores measure a compressed model's distance from the dense one, lower is better."""

    tolerance = 1e-6
    """Upper limit on the score of the dense plan, as a fraction of the score of the cheapest one."""

    @pytest.fixture
    def scoring(self) -> Scoring:
        return Scoring(small_problem(), finetune_steps=8, finetune_lr=1e-3, seed=0)

    @pytest.fixture
    def least(self, scoring: Scoring) -> Plan:
        """The cheapest plan."""
        problem = scoring.problem
        limit = cheapest(problem.tables, "params", problem.dense)
        return plan_of(problem, Budget.at_most(problem.dense, limit))

    def test_the_dense_plan_scores_nothing(
        self, objective: type[Objective], scoring: Scoring, least: Plan
    ) -> None:
        made = objective(scoring)
        dense = plan_of(scoring.problem, Budget.of(scoring.problem.dense, 1.0))
        assert all(candidate.is_dense for candidate in dense.choices.values())
        worst = made.score(least).value
        assert 0 <= made.score(dense).value + 1e-7 <= max(1e-6, self.tolerance * worst)

    def test_less_kept_scores_worse(self, objective: type[Objective], scoring: Scoring, least: Plan) -> None:
        made = objective(scoring)
        milder = plan_of(scoring.problem, Budget.of(scoring.problem.dense, 0.7))
        assert made.score(milder).value < made.score(least).value

    def test_same_plan_same_score(self, objective: type[Objective], scoring: Scoring, least: Plan) -> None:
        again = Scoring(scoring.problem, finetune_steps=8, finetune_lr=1e-3, seed=0)
        assert objective(again).score(least) == objective(scoring).score(least)

    def test_the_model_is_not_changed(
        self, objective: type[Objective], scoring: Scoring, least: Plan
    ) -> None:
        model = scoring.problem.task.model
        before = copy.deepcopy(model.state_dict())
        objective(scoring).score(least)
        after = model.state_dict()
        assert all(torch.equal(before[key], after[key]) for key in before)
        assert not model.training

    def test_it_says_what_it_is(self, objective: type[Objective]) -> None:
        assert objective.name
        assert objective.__doc__
        assert objective.price >= 0
