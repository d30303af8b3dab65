"""What holds for every baseline, on the full table and on the plain SVD."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from ranksearch.costs import ALWAYS, Budget, Cost
from ranksearch.errors import BudgetError, InputError
from ranksearch.planning import Problem, Table
from ranksearch.searching.baselines import ALLOCATORS, Context

MakeContext = Callable[..., Context]

each = pytest.mark.parametrize("name", ALLOCATORS)
metrics = pytest.mark.parametrize("metric", ALWAYS)


def smallest(tables: Sequence[Table], metric: str, dense: Cost) -> int:
    """Cost of the cheapest plan of the whole model."""
    return dense.of(metric) + sum(int(t.costs(metric).min()) - t.dense.of(metric) for t in tables)


@pytest.fixture(params=["full_problem", "svd_problem"])
def problem(request: pytest.FixtureRequest) -> Problem:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Problem)
    return found


@each
@metrics
def test_plans_meet_the_budget_and_spend_it(
    problem: Problem, name: str, metric: str, make_context: MakeContext
) -> None:
    for budget in (0.7, 0.4, 0.2):
        context = make_context(problem, budget, metric)
        choice = ALLOCATORS.get(name).allocate(context)
        assert len(choice) == len(problem.tables)
        cost = problem.plan(choice).cost.of(metric)
        assert 0.9 * context.budget.limit <= cost <= context.budget.limit


@each
def test_a_whole_budget_keeps_every_layer_dense(
    problem: Problem, name: str, make_context: MakeContext
) -> None:
    choice = ALLOCATORS.get(name).allocate(make_context(problem, 1.0))
    plan = problem.plan(choice)
    assert all(candidate.is_dense for candidate in plan.choices.values())
    assert plan.cost == problem.dense


@each
@metrics
def test_the_smallest_budget_is_met_and_less_is_refused(
    problem: Problem, name: str, metric: str, make_context: MakeContext
) -> None:
    least = smallest(problem.tables, metric, problem.dense)
    context = make_context(problem, 1.0, metric)
    tight = ALLOCATORS.get(name).allocate(
        replace(context, budget=Budget.at_most(problem.dense, least, metric))
    )
    assert problem.plan(tight).cost.of(metric) == least
    with pytest.raises(BudgetError, match="budget: expected at least"):
        ALLOCATORS.get(name).allocate(
            replace(context, budget=Budget.at_most(problem.dense, least - 1, metric))
        )


@each
def test_same_seed_same_plan(problem: Problem, name: str, make_context: MakeContext) -> None:
    plans = {ALLOCATORS.get(name).allocate(make_context(problem, 0.3, seed=3)) for _ in range(2)}
    assert len(plans) == 1


@each
def test_more_budget_never_costs_less(problem: Problem, name: str, make_context: MakeContext) -> None:
    costs = [
        problem.plan(ALLOCATORS.get(name).allocate(make_context(problem, budget))).cost.params
        for budget in (0.15, 0.3, 0.6, 1.0)
    ]
    assert costs == sorted(costs)


RUNS_THE_MODEL = ("aimet", "bayes_layer", "optuna_tpe", "optuna_nsgaii", "optuna_random")


@each
def test_evaluations_are_counted_and_kept_to_what_was_asked(
    problem: Problem, name: str, make_context: MakeContext
) -> None:
    context = make_context(problem, 0.4, evaluations=12)
    ALLOCATORS.get(name).allocate(context)
    layers = len(problem.tables)
    most = {"aimet": 11 * layers, "bayes_layer": 4 * layers}.get(name, 12)
    if name in RUNS_THE_MODEL:
        assert 0 < context.evaluate.used <= most
    else:
        assert context.evaluate.used == 0


@each
def test_a_shared_memory_of_scores_changes_nothing(
    problem: Problem, name: str, make_context: MakeContext
) -> None:
    first, second = make_context(problem, 0.4), make_context(problem, 0.4)
    chosen = ALLOCATORS.get(name).allocate(first)
    second.evaluate.known.update(first.evaluate.known)
    assert ALLOCATORS.get(name).allocate(second) == chosen
    assert second.evaluate.used == first.evaluate.used


def test_names_are_registered_once() -> None:
    with pytest.raises(InputError, match="allocator: expected a name that is free, got 'alds'"):
        ALLOCATORS.register(ALLOCATORS.get("alds"))
    with pytest.raises(InputError, match=r"allocator: expected knapsack or uniform or .*, got 'best'"):
        ALLOCATORS.get("best")
    assert all(ALLOCATORS.get(name).name == name for name in ALLOCATORS)
