from __future__ import annotations

import itertools
import re
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import LinearConstraint, milp

from ranksearch.costs import ALWAYS, Budget, Cost, layer_cost
from ranksearch.errors import BudgetError, InputError
from ranksearch.networks import Layer
from ranksearch.networks.layers import Call
from ranksearch.planning import (
    Candidate,
    Choice,
    Table,
    allocation,
    analytic,
    balanced_errors,
    energy,
    knapsack,
    layer_front,
    uniform,
)
from ranksearch.planning.plan import DENSE

REST = Cost(params=100, flops=7_000)
"""What a model costs beside its layers."""


def make_table(name: str, points: Sequence[tuple[int, float]], dense: int, scale: float = 1.0) -> Table:
    """A Linear layer of `dense` parameters with candidates of these (params, error); FLOPs are 2 × params."""
    layer = Layer(name, "linear", dense, 1, (), (), (), (), "zeros", 1, False, (Call((), ()),))
    found = [Candidate("svd", "", (k,), Cost(params=p, flops=2 * p), e) for k, (p, e) in enumerate(points, 1)]
    return Table(layer, (*found, Candidate(DENSE, "", (), layer_cost(layer), 0.0)), scale)


def random_tables(seed: int, layers: int, candidates: int, size: int = 400) -> list[Table]:
    """Tables whose params, FLOPs and errors disagree about the order of candidates."""
    rng = np.random.default_rng(seed)
    tables = []
    for k in range(layers):
        dense = int(rng.integers(size // 2, size))
        layer = Layer(f"l{k}", "linear", dense, 1, (), (), (), (), "zeros", 1, False, (Call((), ()),))
        params = np.sort(rng.integers(1, dense, candidates - 1))
        errors = 3 * np.exp(-4 * params / dense) * rng.lognormal(0, 0.4, candidates - 1)
        flops = params * 2 + rng.integers(0, dense // 2, candidates - 1)
        found = [
            Candidate("cp", "", (i,), Cost(params=int(p), flops=int(f)), float(e))
            for i, (p, f, e) in enumerate(zip(params, flops, errors, strict=True))
        ]
        tables.append(Table(layer, (*found, Candidate(DENSE, "", (), layer_cost(layer), 0.0)), 3.0))
    return tables


def smallest(tables: Sequence[Table], metric: str, dense: Cost) -> int:
    """Cost of the cheapest plan of the whole model."""
    return dense.of(metric) + sum(int(t.costs(metric).min()) - t.dense.of(metric) for t in tables)


def dense_cost(tables: Sequence[Table]) -> Cost:
    return sum((table.dense for table in tables), REST)


def cost_of(tables: Sequence[Table], choice: Choice, metric: str) -> int:
    picked = sum(t.candidates[i].cost.of(metric) for t, i in zip(tables, choice, strict=True))
    return REST.of(metric) + picked


def error_of(tables: Sequence[Table], choice: Choice) -> float:
    return sum(t.candidates[i].error for t, i in zip(tables, choice, strict=True))


def limits(tables: Sequence[Table], metric: str, count: int = 7) -> list[int]:
    low, high = smallest(tables, metric, dense_cost(tables)), dense_cost(tables).of(metric)
    return np.linspace(low, high, count).astype(int).tolist()


# ---- knapsack ----


def test_knapsack_by_hand() -> None:
    tables = [
        make_table("a", [(10, 9.0), (20, 4.0), (40, 1.0)], 60),
        make_table("b", [(10, 5.0), (30, 2.0)], 50),
    ]
    dense = dense_cost(tables)
    picked = [
        knapsack(tables, Budget.at_most(dense, 100 + room, "params"))
        for room in (20, 30, 50, 69, 70, 109, 110)
    ]
    # Best sums of errors: 9+5, 4+5, 4+2 (not 1+5 at 50, a tie at 6, nor less), 4+2, 1+2, 1+0, 0+0.
    assert [error_of(tables, choice) for choice in picked] == [14, 9, 6, 6, 3, 1, 0]
    assert picked[0] == (0, 0)
    assert picked[4] == (2, 1)
    assert picked[-1] == (3, 2)


@pytest.mark.parametrize("metric", ALWAYS)
@pytest.mark.parametrize("seed", range(8))
def test_knapsack_finds_the_optimum_of_all_plans(seed: int, metric: str) -> None:
    tables = random_tables(seed, layers=4, candidates=6)
    plans = list(itertools.product(*(range(len(t.candidates)) for t in tables)))
    costs = np.array([cost_of(tables, plan, metric) for plan in plans])
    errors = np.array([error_of(tables, plan) for plan in plans])
    for limit in limits(tables, metric, 15):
        choice = knapsack(tables, Budget.at_most(dense_cost(tables), limit, metric))
        assert cost_of(tables, choice, metric) <= limit
        assert error_of(tables, choice) == pytest.approx(errors[costs <= limit].min(), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_knapsack_agrees_with_integer_programming(seed: int) -> None:
    tables = random_tables(seed, layers=15, candidates=25, size=9_000)
    errors = np.concatenate([t.errors() for t in tables])
    costs = np.concatenate([t.costs("params") for t in tables])
    owner = np.concatenate([np.full(len(t.candidates), k) for k, t in enumerate(tables)])
    one_each = LinearConstraint((owner == np.arange(len(tables))[:, None]).astype(float), 1, 1)
    for budget in (0.6, 0.3, 0.2):
        limit = Budget.of(dense_cost(tables), budget, "params").limit
        fits = LinearConstraint(costs[None].astype(float), 0, limit - REST.params)
        exact = {"mip_rel_gap": 0}
        best = milp(errors, constraints=[one_each, fits], integrality=1, bounds=(0, 1), options=exact)
        choice = knapsack(tables, Budget.at_most(dense_cost(tables), limit, "params"))
        assert error_of(tables, choice) == pytest.approx(best.fun, rel=1e-9)


def test_knapsack_by_other_errors() -> None:
    tables = random_tables(1, layers=4, candidates=6)
    rng = np.random.default_rng(5)
    errors = [table.errors() * rng.lognormal(0, 1, len(table.candidates)) for table in tables]
    plans = list(itertools.product(*(range(len(t.candidates)) for t in tables)))
    for limit in limits(tables, "params"):
        choice = knapsack(tables, Budget.at_most(dense_cost(tables), limit, "params"), errors=errors)
        total = sum(e[i] for e, i in zip(errors, choice, strict=True))
        within = [plan for plan in plans if cost_of(tables, plan, "params") <= limit]
        assert total == pytest.approx(min(sum(e[i] for e, i in zip(errors, p, strict=True)) for p in within))


def test_knapsack_with_few_partial_plans_is_within_budget_and_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    tables = random_tables(3, layers=12, candidates=40, size=9_000)
    dense = dense_cost(tables)
    limit = Budget.of(dense, 0.3, "params").limit
    best = error_of(tables, knapsack(tables, Budget.at_most(dense, limit, "params")))
    monkeypatch.setattr(allocation, "_MAX_STATES", 2)
    choice = knapsack(tables, Budget.at_most(dense, limit, "params"))
    assert cost_of(tables, choice, "params") <= limit
    assert best <= error_of(tables, choice) <= 1.05 * best


@pytest.mark.parametrize("broken", [[np.zeros(3)], [np.array([1.0, np.nan])]])
def test_other_errors_are_checked(broken: list[np.ndarray]) -> None:
    table = make_table("layer1.conv", [(10, 1.0)], 20)
    with pytest.raises(InputError, match=r"errors of layer1\.conv: expected 2 finite numbers"):
        knapsack([table], Budget.at_most(dense_cost([table]), 110, "params"), errors=broken)


# ---- every allocator ----

ALLOCATORS = {"knapsack": knapsack, "uniform": uniform, "energy": energy}


@pytest.mark.parametrize("metric", ALWAYS)
@pytest.mark.parametrize("name", ALLOCATORS)
class TestEveryAllocator:
    @pytest.mark.parametrize("seed", range(4))
    def test_never_exceeds_the_limit_and_leaves_no_room(self, name: str, metric: str, seed: int) -> None:
        tables = random_tables(seed, layers=7, candidates=12)
        for limit in limits(tables, metric):
            choice = ALLOCATORS[name](tables, Budget.at_most(dense_cost(tables), limit, metric))
            left = limit - cost_of(tables, choice, metric)
            assert left >= 0
            for table, index in zip(tables, choice, strict=True):
                front = layer_front(table, metric)
                place = front.indices.tolist().index(index)
                upgrades = front.costs[place + 1 : place + 2] - front.costs[place]
                assert (upgrades > left).all()

    def test_uses_the_budget(self, name: str, metric: str) -> None:
        tables = random_tables(0, layers=19, candidates=300, size=30_000)
        for budget in (0.5, 0.3, 0.2):
            limit = Budget.of(dense_cost(tables), budget, metric).limit
            choice = ALLOCATORS[name](tables, Budget.at_most(dense_cost(tables), limit, metric))
            assert 0.99 * limit <= cost_of(tables, choice, metric) <= limit

    def test_keeps_everything_where_everything_fits(self, name: str, metric: str) -> None:
        tables = random_tables(0, layers=5, candidates=9)
        dense = dense_cost(tables)
        choice = ALLOCATORS[name](tables, Budget.at_most(dense, dense.of(metric), metric))
        assert all(t.candidates[i].is_dense for t, i in zip(tables, choice, strict=True))

    def test_refuses_what_cannot_be_met_and_names_what_can(self, name: str, metric: str) -> None:
        tables = random_tables(2, layers=5, candidates=9)
        dense = dense_cost(tables)
        least = smallest(tables, metric, dense)
        with pytest.raises(BudgetError) as caught:
            ALLOCATORS[name](tables, Budget.at_most(dense, least - 1, metric))
        message, unit = str(caught.value), "parameters" if metric == "params" else "FLOPs"
        assert f"({least:,} of {dense.of(metric):,} {unit})" in message
        assert f"({least - 1:,})" in message
        named = re.findall(r"at least (\S+) \(", message)[0]
        assert Budget.of(dense, named, metric).limit == least
        ALLOCATORS[name](tables, Budget.of(dense, named, metric))
        below = Budget.of(dense, (least - 1) / dense.of(metric), metric)
        with pytest.raises(BudgetError) as caught:
            ALLOCATORS[name](tables, below)
        fraction = float(re.findall(r"at least ([0-9.]+) \(", str(caught.value))[0])
        ALLOCATORS[name](tables, Budget.of(dense, fraction, metric))
        assert Budget.of(dense, fraction - 2e-4, metric).limit < least

    def test_same_input_same_plan(self, name: str, metric: str) -> None:
        plans = set()
        for _ in range(3):
            tables = random_tables(4, layers=9, candidates=15)
            plans.add(
                ALLOCATORS[name](
                    tables, Budget.at_most(dense_cost(tables), limits(tables, metric)[3], metric)
                )
            )
        assert len(plans) == 1

    def test_dense_only_layers_stay(self, name: str, metric: str) -> None:
        tables = [make_table("a", [], 50), make_table("b", [(10, 1.0), (20, 0.5)], 50)]
        limit = REST.of(metric) + (75 if metric == "params" else 150)
        assert ALLOCATORS[name](tables, Budget.at_most(dense_cost(tables), limit, metric)) == (0, 1)


# ---- uniform and energy ----


def test_uniform_keeps_the_same_fraction_of_every_layer() -> None:
    tables = [
        make_table("a", [(10 * k, 10.0 - k) for k in range(1, 10)], 100),
        make_table("b", [(50 * k, 10.0 - k) for k in range(1, 10)], 500),
    ]
    dense = dense_cost(tables)
    for tenths in range(1, 11):
        choice = uniform(tables, Budget.at_most(dense, REST.params + 60 * tenths, "params"))
        assert choice == (tenths - 1, tenths - 1)
    # 40 more than three tenths of each: the small layer takes the steps that fit, the large one cannot.
    assert uniform(tables, Budget.at_most(dense, REST.params + 180 + 40, "params")) == (6, 2)


def test_uniform_with_weights() -> None:
    tables = [make_table(name, [(10 * k, 10.0 - k) for k in range(1, 10)], 100) for name in "ab"]
    assert uniform(
        tables, Budget.at_most(dense_cost(tables), REST.params + 90, "params"), weights=(2.0, 1.0)
    ) == (5, 2)


def test_energy_keeps_the_same_fraction_of_energy() -> None:
    tables = [
        make_table("easy", [(10, 0.5), (20, 0.2), (30, 0.1)], 100, scale=1.0),
        make_table("hard", [(10, 90.0), (20, 80.0), (30, 50.0), (40, 20.0), (50, 10.0)], 100, scale=100.0),
    ]
    dense = dense_cost(tables)
    # Half, 0.8 and 0.9 of the energy, at 10 + 30, 20 + 40 and 30 + 50 parameters.
    assert energy(tables, Budget.at_most(dense, REST.params + 40, "params")) == (0, 2)
    assert energy(tables, Budget.at_most(dense, REST.params + 60, "params")) == (1, 3)
    assert energy(tables, Budget.at_most(dense, REST.params + 80, "params")) == (2, 4)


@pytest.mark.parametrize("seed", range(4))
def test_energy_against_bisection(seed: int) -> None:
    """Every layer keeps at least what the largest common fraction, found by bisection, asks for."""
    tables = random_tables(seed, layers=6, candidates=20)
    fronts = [layer_front(table, "params") for table in tables]

    def at(fraction: float) -> list[int]:
        kept = [1 - front.errors / table.scale for front, table in zip(fronts, tables, strict=True)]
        return [int(np.argmax(share >= fraction)) for share in kept]

    for limit in limits(tables, "params")[1:-1]:
        low, high = -1e3, 1.0
        for _ in range(80):
            middle = (low + high) / 2
            cost = sum(int(f.costs[p]) for f, p in zip(fronts, at(middle), strict=True))
            low, high = (middle, high) if REST.params + cost <= limit else (low, middle)
        choice = energy(tables, Budget.at_most(dense_cost(tables), limit, "params"))
        kept = [f.indices.tolist().index(i) for f, i in zip(fronts, choice, strict=True)]
        assert all(k >= p for k, p in zip(kept, at(low), strict=True))


def test_energy_of_a_layer_without_any() -> None:
    tables = [make_table("dead", [(10, 0.0)], 50, scale=0.0), make_table("b", [(10, 1.0)], 50)]
    assert energy(tables, Budget.at_most(dense_cost(tables), REST.params + 60, "params")) == (0, 1)


def test_large_tables_are_fast() -> None:
    tables = random_tables(8, layers=200, candidates=60, size=100_000)
    begin = time.perf_counter()
    for budget in (0.5, 0.2):
        knapsack(tables, Budget.of(dense_cost(tables), budget))
    assert time.perf_counter() - begin < 1.0


def test_balanced_errors_are_the_geometric_mean_of_errors_and_relative_errors() -> None:
    tables = random_tables(3, 5, 6)
    for table, balanced in zip(tables, balanced_errors(tables), strict=True):
        errors = table.errors()
        np.testing.assert_allclose(balanced, np.sqrt(errors * (errors / table.scale)))


def test_the_analytic_plan_does_not_depend_on_the_unit_of_the_errors() -> None:
    tables = random_tables(4, 5, 6)
    larger = [
        replace(
            table,
            scale=7 * table.scale,
            candidates=tuple(replace(c, error=7 * c.error) for c in table.candidates),
        )
        for table in tables
    ]
    limit = Budget.of(dense_cost(tables), 0.4, "params").limit
    plans = [analytic(t, Budget.at_most(dense_cost(t), limit, "params")) for t in (tables, larger)]
    assert plans[0] == plans[1]


def test_a_layer_without_any_error_counts_as_free() -> None:
    tables = random_tables(2, 5, 6)
    dead = replace(
        tables[0], scale=0.0, candidates=tuple(replace(c, error=0.0) for c in tables[0].candidates)
    )
    assert np.isfinite(balanced_errors([dead, *tables[1:]])[0]).all()
