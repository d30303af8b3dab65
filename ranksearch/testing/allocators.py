"""Contract tests of allocators, on networks that exist only on paper.

Subclass `AllocatorContract` under a name that begins with `Test`, with a fixture `allocator` that returns yours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest

from ranksearch.costs import ALWAYS, Budget, Cost
from ranksearch.errors import BudgetError
from ranksearch.planning import Choice, Problem, Table
from ranksearch.searching.baselines import Allocator, Context, Evaluations
from ranksearch.testing.material import paper_problem, tiny_problem, tiny_task


def made_up_context(problem: Problem, budget: Budget, *, seed: int = 0, evaluations: int = 12) -> Context:
    """A context that scores plans by an artificial function, which no method optimises directly."""

    def score(choice: Choice) -> float:
        errors = [t.candidates[k].error / t.scale for t, k in zip(problem.tables, choice, strict=True)]
        return float(sum((k + 1) * error**0.7 for k, error in enumerate(errors)))

    return Context(problem, budget, Evaluations(score), seed, evaluations)


def cheapest(tables: Sequence[Table], metric: str, dense: Cost) -> int:
    """Cost of the cheapest plan of the whole model."""
    return dense.of(metric) + sum(int(t.costs(metric).min()) - t.dense.of(metric) for t in tables)


@cache
def paper_problems() -> dict[str, Problem]:
    """One problem with four decompositions and this project's error, one with only the SVD and the plain error."""
    base = tiny_problem(tiny_task())
    return {
        "full": paper_problem(base, "fisher", ("svd", "spatial_svd", "tucker2", "cp")),
        "svd": paper_problem(base, "plain", ("svd",)),
    }


class AllocatorContract:
    """Checks of one allocator."""

    @pytest.fixture(params=["full", "svd"])
    def problem(self, request: pytest.FixtureRequest) -> Problem:
        return paper_problems()[request.param]

    @pytest.mark.parametrize("metric", ALWAYS)
    def test_plans_meet_the_budget_and_spend_it(
        self, problem: Problem, allocator: Allocator, metric: str
    ) -> None:
        for budget in (0.7, 0.4, 0.2):
            within = Budget.of(problem.dense, budget, metric)
            choice = allocator.allocate(made_up_context(problem, within))
            assert len(choice) == len(problem.tables)
            assert 0.9 * within.limit <= problem.plan(choice).cost.of(metric) <= within.limit

    def test_a_whole_budget_keeps_every_layer_dense(self, problem: Problem, allocator: Allocator) -> None:
        choice = allocator.allocate(made_up_context(problem, Budget.of(problem.dense, 1.0)))
        plan = problem.plan(choice)
        assert all(candidate.is_dense for candidate in plan.choices.values())
        assert plan.cost == problem.dense

    @pytest.mark.parametrize("metric", ALWAYS)
    def test_the_smallest_budget_is_met_and_less_is_refused(
        self, problem: Problem, allocator: Allocator, metric: str
    ) -> None:
        least = cheapest(problem.tables, metric, problem.dense)
        context = made_up_context(problem, Budget.at_most(problem.dense, least, metric))
        assert problem.plan(allocator.allocate(context)).cost.of(metric) == least
        less = replace(context, budget=Budget.at_most(problem.dense, least - 1, metric))
        with pytest.raises(BudgetError, match="budget: expected at least"):
            allocator.allocate(less)

    def test_same_seed_same_plan(self, problem: Problem, allocator: Allocator) -> None:
        within = Budget.of(problem.dense, 0.3)
        plans = {allocator.allocate(made_up_context(problem, within, seed=3)) for _ in range(2)}
        assert len(plans) == 1

    def test_more_budget_never_costs_less(self, problem: Problem, allocator: Allocator) -> None:
        budgets = [Budget.of(problem.dense, budget) for budget in (0.15, 0.3, 0.6, 1.0)]
        costs = [problem.plan(allocator.allocate(made_up_context(problem, b))).cost.params for b in budgets]
        assert costs == sorted(costs)

    def test_the_model_is_run_only_by_those_that_say_so(self, problem: Problem, allocator: Allocator) -> None:
        context = made_up_context(problem, Budget.of(problem.dense, 0.4), evaluations=12)
        allocator.allocate(context)
        assert (context.evaluate.used > 0) == allocator.evaluates

    def test_a_shared_memory_of_scores_changes_nothing(self, problem: Problem, allocator: Allocator) -> None:
        first, second = (made_up_context(problem, Budget.of(problem.dense, 0.4)) for _ in range(2))
        chosen = allocator.allocate(first)
        second.evaluate.known.update(first.evaluate.known)
        assert allocator.allocate(second) == chosen
        assert second.evaluate.used == first.evaluate.used
