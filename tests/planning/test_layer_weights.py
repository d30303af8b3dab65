"""LayerWeights: weights of layers in the allocation, and layers that stay dense."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FixedTrial

import ranksearch
from ranksearch.costs import Budget, Cost, layer_cost
from ranksearch.errors import BudgetError, InputError, MismatchError
from ranksearch.networks import Layer
from ranksearch.networks.layers import Call
from ranksearch.planning import (
    Candidate,
    CandidateConfig,
    LayerWeights,
    Problem,
    Table,
    analytic,
    balanced_errors,
    energy,
    prepare,
)
from ranksearch.planning.plan import DENSE
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.searching import SearchSettings, search
from ranksearch.tasks import Task

CONFIG = CandidateConfig(decompositions=("svd", "spatial_svd"), fits_per_form=3, iterations=3)


def tables_of(seed: int, layers: int = 6, candidates: int = 12) -> tuple[Table, ...]:
    """Linear layers with candidates whose errors fall as they grow."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(layers):
        size = int(rng.integers(200, 400))
        layer = Layer(f"l{k}", "linear", size, 1, (), (), (), (), "zeros", 1, False, (Call((), ()),))
        params = np.sort(rng.choice(np.arange(1, size), candidates, replace=False))
        errors = 3 * np.exp(-4 * params / size) * rng.lognormal(0, 0.3, candidates)
        chosen = [
            Candidate("svd", "", (i,), Cost(params=int(p), flops=2 * int(p)), float(e))
            for i, (p, e) in enumerate(zip(params, errors, strict=True), 1)
        ]
        found.append(Table(layer, (*chosen, Candidate(DENSE, "", (), layer_cost(layer), 0.0)), 3.0))
    return tuple(found)


def dense_cost(tables: tuple[Table, ...]) -> Cost:
    return sum((table.dense for table in tables), Cost(params=50, flops=100))


def test_no_advice_changes_nothing() -> None:
    tables = tables_of(0)
    for advice in (LayerWeights(), LayerWeights(3, 1.0), LayerWeights(prior={"l0": 1.0}), LayerWeights(2)):
        assert advice.weighed(tables) == tables
    layers = [table.layer for table in tables]
    assert LayerWeights(3, 2.0).kept_dense(layers) == tuple(layers)


def test_weights_of_early_layers_and_of_a_prior_multiply() -> None:
    tables = tables_of(0, layers=4)
    weighed = LayerWeights(2, 3.0, {"l1": 0.5, "l3": 4.0}).weighed(tables)
    assert [table.weight for table in weighed] == [3.0, 1.5, 1.0, 4.0]
    for before, after in zip(balanced_errors(tables), balanced_errors(weighed), strict=True):
        assert after.shape == before.shape
    np.testing.assert_allclose(balanced_errors(weighed)[1], 1.5 * balanced_errors(tables)[1])
    overruled = LayerWeights(2, 3.0, {"l1": 0.5}).without_prior.weighed(weighed)
    assert [table.weight for table in overruled] == [3.0, 3.0, 1.0, 1.0]


@pytest.mark.parametrize("allocate", [analytic, energy])
@pytest.mark.parametrize("seed", range(6))
def test_a_larger_weight_never_gives_the_layer_a_larger_error(seed: int, allocate) -> None:  # type: ignore[no-untyped-def]
    tables = tables_of(seed)
    dense = dense_cost(tables)
    for budget in (0.6, 0.4, 0.2):
        within = Budget.of(dense, budget, "params")
        errors = []
        for weight in (0.2, 0.5, 1.0, 2.0, 5.0, 50.0):
            weighed = LayerWeights(1, weight).weighed(tables)
            choice = allocate(weighed, within)
            errors.append(weighed[0].candidates[choice[0]].error)
            cost = sum(t.candidates[k].cost.params for t, k in zip(weighed, choice, strict=True))
            assert cost + 50 <= within.limit
        assert errors == sorted(errors, reverse=True)


def test_equal_weights_are_none() -> None:
    tables = tables_of(3)
    dense = dense_cost(tables)
    within = Budget.of(dense, 0.4, "params")
    heavy = tuple(replace(table, weight=8.0) for table in tables)
    assert analytic(heavy, within) == analytic(tables, within)


def test_the_space_of_sensitivities_starts_from_the_weighed_plan() -> None:
    tables = LayerWeights(2, 5.0).weighed(tables_of(1))
    dense = dense_cost(tables)
    within = Budget.of(dense, 0.4, "params")
    space = SEARCH_SPACES.get("sensitivities")(tables, within)
    first = space.initial()
    assert first is not None
    assert space.suggest(FixedTrial(first)) == analytic(tables, within)
    assert space.analytic != analytic(LayerWeights().weighed(tables), within)


def test_the_first_layers_stay_dense(tiny_task: Task, tiny_problem: Problem) -> None:
    problem = prepare(tiny_task, config=CONFIG, layer_weights=LayerWeights(1))
    assert [t.layer.name for t in problem.tables] == ["3", "8"]
    assert problem.tables == tiny_problem.tables[1:]
    reasons = {layer.name: layer.reason for layer in problem.layers}
    assert reasons["0"] == "one of the first 1 (`protect_early=1`)"
    assert reasons["3"] is None
    assert problem.dense == tiny_problem.dense


def test_the_cache_knows_no_weights(tiny_task: Task, tmp_path: Path) -> None:
    task = replace(tiny_task, cache=tmp_path)
    plain = prepare(task, config=CONFIG)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    weighed = prepare(task, config=CONFIG, layer_weights=LayerWeights(2, 3.0))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert [t.weight for t in weighed.tables] == [3.0, 3.0, 1.0]
    assert tuple(replace(t, weight=1.0) for t in weighed.tables) == plain.tables
    assert prepare(task, config=CONFIG).tables == plain.tables


def test_from_python(tiny_task: Task) -> None:
    options = {"budget": 0.5, "n_trials": 0, "decompositions": ["svd"]}
    plain, favoured, spared = (
        ranksearch.search(tiny_task, **options, protect_early=early).plan for early in (0, (1, 50.0), 1)
    )
    assert "0" not in spared.choices
    assert favoured.choices["0"].error <= plain.choices["0"].error
    assert favoured.cost.params <= 0.5 * 1_197


def test_mistakes(tiny_task: Task) -> None:
    with pytest.raises(InputError, match=r"protect_early: expected fewer than the 3 layers .*, got 3\."):
        ranksearch.search(tiny_task, budget=0.5, n_trials=0, protect_early=3)
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="the weight of `protect_early`: expected a positive number"):
            ranksearch.search(tiny_task, budget=0.5, protect_early=(1, weight))
    with pytest.raises(InputError, match="allocator: expected knapsack or energy, which weigh"):
        ranksearch.search(tiny_task, budget=0.5, allocator="balf", protect_early=(1, 2.0))
    with pytest.raises(BudgetError, match="budget: expected at least"):
        ranksearch.search(tiny_task, budget=0.2, n_trials=0, protect_early=2)


def test_a_study_with_other_weights_is_refused(tiny_problem: Problem) -> None:
    storage = InMemoryStorage()
    settings = SearchSettings(
        budgets=(0.5,), n_trials=1, finetune_trials=0, refit_trials=0, objective="divergence"
    )
    search(tiny_problem, settings, storage=storage)
    weighed = replace(tiny_problem, tables=LayerWeights(1, 2.0).weighed(tiny_problem.tables))
    with pytest.raises(MismatchError, match="candidates of study"):
        search(weighed, settings, storage=storage)


def test_the_plain_plan_is_scored_beside_that_of_a_prior(tiny_problem: Problem) -> None:
    advice = LayerWeights(prior={"0": 0.01, "8": 50.0})
    problem = replace(tiny_problem, tables=advice.weighed(tiny_problem.tables), layer_weights=advice)
    for trials, stage in ((4, "divergence"), (0, "reconstruction")):
        settings = SearchSettings(budgets=(0.4,), n_trials=trials, finetune_trials=0, refit_trials=0)
        (result,) = search(problem, settings)
        (plain,) = [r for r in result.records if r.origin == "plain"]
        (own,) = [r for r in result.records if r.origin == "analytic"]
        within = Budget.of(problem.dense, 0.4, "params")
        unweighed = analytic(tiny_problem.tables, within)
        assert plain.plan == tiny_problem.plan(unweighed)
        assert own.plan != plain.plan
        assert (plain.stage, own.stage) == (stage, stage)
        if trials:
            assert result.scores["divergence"] <= min(plain.scores["divergence"], own.scores["divergence"])


def test_without_trials_a_prior_and_the_plain_plan_compare_as_delivered(tiny_problem: Problem) -> None:
    advice = LayerWeights(prior={"0": 0.01, "8": 50.0})
    problem = replace(tiny_problem, tables=advice.weighed(tiny_problem.tables), layer_weights=advice)
    storage = InMemoryStorage()
    settings = SearchSettings(budgets=(0.4,), objective="refitted")
    (result,) = search(problem, settings, storage=storage)
    scored = [r for r in result.records if r.stage == "refitted"]
    assert {r.origin for r in scored} == {"analytic", "plain"}
    best = min(scored, key=lambda r: r.scores["refitted"])
    assert (result.origin, result.plan.key) == (best.origin, best.plan.key)
    assert search(problem, settings, storage=storage) == [result], "read back, not scored again"
    (unadvised,) = search(tiny_problem, settings)
    assert {r.stage for r in unadvised.records} == {"reconstruction"}
