"""Contract tests of search spaces, on tables of a network that exists only on paper.

Subclass `SearchSpaceContract` under a name that begins with `Test`, with a fixture `space` that returns your class.
"""

from __future__ import annotations

from math import exp

import optuna
import pytest
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial

from ranksearch.costs import ALWAYS, Budget, Cost, layer_cost
from ranksearch.networks import Call, Layer
from ranksearch.planning import DENSE, Candidate, Choice, Table, energy, knapsack, uniform
from ranksearch.search_spaces import SearchSpace

_BUDGETS = (0.6, 0.3, 0.2)


def conv(name: str, inputs: int, outputs: int, size: int, decompositions: tuple[str, ...]) -> Table:
    """A 3×3 convolution with every rank of each decomposition, and errors that fall geometrically with it."""
    call = Call((size, size), (size, size))
    geometry = ((3, 3), (1, 1), (1, 1), (1, 1), "zeros", 1, False)
    layer = Layer(name, "conv2d", inputs, outputs, *geometry, (call,))
    found = [Candidate(DENSE, "", (), layer_cost(layer), 0.0)]
    for k, decomposition in enumerate(decompositions):
        per_rank = (inputs * 9 + outputs, (inputs + outputs) * 3, inputs + outputs + 6)[k]
        for rank in range(1, layer_cost(layer).params // per_rank):
            params = per_rank * rank
            error = (0.5 + outputs / 64) * exp(-(5 + k) * params / layer_cost(layer).params)
            found.append(
                Candidate(decomposition, "", (rank,), Cost(params=params, flops=2 * params * size**2), error)
            )
    found.sort(key=lambda c: (c.cost.params, c.error))
    return Table(layer, tuple(found), 3.0)


def network(decompositions: tuple[str, ...]) -> list[Table]:
    """Eight convolutions in three stages."""
    return [
        conv("conv1", 3, 16, 32, decompositions),
        *(conv(f"layer1.{k}.conv", 16, 16, 32, decompositions) for k in range(3)),
        conv("layer2.0.conv", 16, 32, 16, decompositions),
        *(conv(f"layer2.{k}.conv", 32, 32, 16, decompositions) for k in range(1, 3)),
        conv("layer3.0.conv", 32, 64, 8, decompositions),
    ]


MANY = network(("svd", "spatial_svd", "cp"))
SVD = network(("svd",))


def cost_of(space: SearchSpace, choice: Choice) -> int:
    """Cost of the whole model with a choice, in the budget's metric."""
    metric, pairs = space.budget.metric, zip(space.tables, choice, strict=True)
    return space.budget.dense + sum((t.candidates[i].cost - t.dense).of(metric) for t, i in pairs)


def sampled(space: SearchSpace, count: int, seed: int = 0) -> list[tuple[Choice, dict[str, float]]]:
    """Random choices of a space with their constraints."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    found = []
    for _ in range(count):
        trial = study.ask()
        choice = space.suggest(trial)
        found.append((choice, dict(trial.constraints)))
        study.tell(trial, 0.0)
    return found


def made(
    space: type[SearchSpace], tables: list[Table], metric: str = "params", budget: float = 0.3
) -> SearchSpace:
    """A space of these tables, for a model with 500 other parameters."""
    dense = sum((table.dense for table in tables), Cost(params=500, flops=0))
    return space(tables, Budget.of(dense, budget, metric))


@pytest.mark.parametrize("metric", ALWAYS)
@pytest.mark.parametrize("budget", _BUDGETS)
@pytest.mark.parametrize("tables", [MANY, SVD], ids=["many", "svd"])
class SearchSpaceContract:
    """Checks of one search space."""

    def test_what_it_expresses_it_yields(
        self, space: type[SearchSpace], tables: list[Table], budget: float, metric: str
    ) -> None:
        own = made(space, tables, metric, budget)
        for allocate in (knapsack, uniform, energy):
            choice = allocate(tables, own.budget)
            params = own.express(choice)
            assert params is None or own.suggest(FixedTrial(params)) == choice

    def test_the_initial_plan_is_the_analytic_one(
        self, space: type[SearchSpace], tables: list[Table], budget: float, metric: str
    ) -> None:
        own = made(space, tables, metric, budget)
        params = own.initial()
        assert params is None or own.suggest(FixedTrial(params)) == own.analytic

    def test_plans_meet_the_budget_or_say_so(
        self, space: type[SearchSpace], tables: list[Table], budget: float, metric: str
    ) -> None:
        own = made(space, tables, metric, budget)
        for choice, constraints in sampled(own, 25):
            overshoot = cost_of(own, choice) / own.budget.limit - 1
            assert constraints == {"budget": overshoot} if constraints else overshoot <= 0

    def test_same_seed_same_plans(
        self, space: type[SearchSpace], tables: list[Table], budget: float, metric: str
    ) -> None:
        first = sampled(made(space, tables, metric, budget), 8, seed=3)
        assert sampled(made(space, tables, metric, budget), 8, seed=3) == first
        assert sampled(made(space, tables, metric, budget), 8, seed=4) != first

    def test_plans_differ(
        self, space: type[SearchSpace], tables: list[Table], budget: float, metric: str
    ) -> None:
        found = sampled(made(space, tables, metric, budget), 25)
        assert len({choice for choice, _ in found}) > 5
