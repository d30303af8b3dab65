"""Several limits at once, against every plan of small tables."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from ranksearch.costs import Budget, Cost, Kept
from ranksearch.errors import BudgetError
from ranksearch.networks import Layer
from ranksearch.networks.layers import Call
from ranksearch.planning import Candidate, Table, knapsack
from ranksearch.planning.plan import DENSE

REST = Cost(params=70, flops=900)


def random_tables(seed: int, layers: int = 4, candidates: int = 6) -> list[Table]:
    """Linear layers whose candidates trade parameters for FLOPs."""
    rng = np.random.default_rng(seed)
    tables = []
    for k in range(layers):
        layer = Layer(f"l{k}", "linear", 40, 50, (), (), (), (), "zeros", 1, False, (Call((7,), (7,)),))
        found = [
            Candidate("svd", "", (r,), Cost(params=int(p), flops=int(f)), float(e))
            for r, (p, f, e) in enumerate(
                zip(
                    rng.integers(50, 2000, candidates),
                    rng.integers(500, 28_000, candidates),
                    rng.uniform(0.1, 9, candidates),
                    strict=True,
                ),
                1,
            )
        ]
        tables.append(
            Table(layer, (*found, Candidate(DENSE, "", (), Cost(params=2000, flops=28_000), 0.0)), 9.0)
        )
    return tables


def whole(tables: list[Table], choice: tuple[int, ...]) -> Cost:
    return sum((t.candidates[k].cost for t, k in zip(tables, choice, strict=True)), REST)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kept", [(0.7, 0.5), (0.5, 0.7), (0.4, 0.4), (0.9, 0.3)])
def test_the_optimum_of_all_plans_within_both_limits(seed: int, kept: tuple[float, float]) -> None:
    tables = random_tables(seed)
    dense = sum((table.dense for table in tables), REST)
    budget = Budget.of(dense, kept[0], "params", (("flops", Kept(fraction=kept[1])),))
    plans = list(itertools.product(*(range(len(t.candidates)) for t in tables)))
    allowed = [plan for plan in plans if budget.met_by(whole(tables, plan))]

    def error(plan: tuple[int, ...]) -> float:
        return sum(t.candidates[k].error for t, k in zip(tables, plan, strict=True))

    if not allowed:
        with pytest.raises(BudgetError):
            knapsack(tables, budget)
        return
    found = knapsack(tables, budget)
    assert budget.met_by(whole(tables, found))
    assert error(found) == pytest.approx(min(map(error, allowed)), rel=1e-5)


def test_a_limit_that_does_not_bind_changes_nothing() -> None:
    tables = random_tables(3, layers=8, candidates=12)
    dense = sum((table.dense for table in tables), REST)
    loose = Budget.of(dense, 0.5, "params", (("flops", Kept(fraction=1.0)),))
    assert knapsack(tables, loose) == knapsack(tables, Budget.of(dense, 0.5))


def test_the_limit_that_cannot_be_met_is_named_with_the_least_that_can() -> None:
    """One layer: 10 parameters cost 900 FLOPs, 100 parameters 90; each limit alone can be met, both cannot."""
    layer = Layer("l", "linear", 40, 50, (), (), (), (), "zeros", 1, False, (Call((), ()),))
    few = Candidate("svd", "", (1,), Cost(params=10, flops=900), 1.0)
    quick = Candidate("cp", "", (1,), Cost(params=100, flops=90), 1.0)
    table = Table(layer, (few, quick, Candidate(DENSE, "", (), Cost(params=2000, flops=4000), 0.0)), 9.0)
    dense = Cost(params=2000, flops=4000)
    for params, flops in ((50, 4000), (2000, 100)):
        knapsack([table], Budget.of(dense, Kept(amount=params), "params", (("flops", Kept(amount=flops)),)))
    both = Budget.of(dense, Kept(amount=50), "params", (("flops", Kept(fraction=0.025)),))
    with pytest.raises(BudgetError, match=re.escape("at least 0.2250 (900 of 4,000 FLOPs), got 0.025 (100)")):
        knapsack([table], both)
