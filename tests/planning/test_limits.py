"""Several limits at once, against every plan of small tables."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import numpy as np
import pytest

from ranksearch.costs import COSTS, Budget, Cost, Kept
from ranksearch.errors import BudgetError
from ranksearch.networks import Layer
from ranksearch.networks.layers import Call
from ranksearch.planning import Candidate, Table, knapsack
from ranksearch.planning.limits import shortfalls
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
    together = (
        "budget: expected limits that can be met together, got params 0.05k and flops 0.025. With the others as they "
        "are, params 0.1k (100 of 2,000 parameters) or flops 0.2250 (900 of 4,000 FLOPs) can be met."
    )
    with pytest.raises(BudgetError, match=re.escape(together)):
        knapsack([table], both)


def test_limits_that_cannot_be_met_alone_are_named_with_their_own_least() -> None:
    tables = random_tables(1)
    dense = sum((table.dense for table in tables), REST)
    least = {m: sum(min(t.costs(m)) for t in tables) + REST.of(m) for m in ("params", "flops")}
    budget = Budget.of(dense, Kept(amount=80), "params", (("flops", Kept(amount=1000)),))
    with pytest.raises(BudgetError) as caught:
        knapsack(tables, budget)
    first, second = str(caught.value).split("\n")
    assert first.startswith(f"budget: expected at least {Kept(amount=int(least['params'])).name} ")
    assert second.startswith(f"limit: expected flops at least {Kept(amount=int(least['flops'])).name} ")
    loose = Budget.of(dense, 1.0, "params", (("flops", Kept(amount=1000)),))
    with pytest.raises(BudgetError, match=r"^limit: expected flops at least .*Raise the limit"):
        knapsack(tables, loose)


METRICS = ("params", "flops", "bytes")


def tables_of_three(seed: int) -> list[Table]:
    """Tables whose candidates trade three costs for one another."""
    rng = np.random.default_rng(seed)
    tables = []
    for table in random_tables(seed):
        candidates = [
            replace(c, cost=Cost(**c.cost.amounts, bytes=int(rng.integers(10, 900))))
            for c in table.candidates
        ]
        tables.append(replace(table, candidates=tuple(candidates)))
    return tables


def _at_most(metric: str, amount: int) -> Kept:
    return Kept(amount=amount, base=COSTS.get(metric).base)


@pytest.mark.parametrize("seed", range(12))
def test_what_binds_and_what_would_do_among_all_plans(seed: int) -> None:
    """Each value that is named is the least among all plans that meet the other limits."""
    tables = tables_of_three(seed)
    fixed = Cost(params=70, flops=900, bytes=5)
    dense = sum((table.dense for table in tables), fixed)
    plans = itertools.product(*(t.candidates for t in tables))
    costs = np.array([[sum((c.cost for c in plan), fixed).of(m) for m in METRICS] for plan in plans])
    rng = np.random.default_rng(100 + seed)
    least = costs.min(axis=0)
    bounds = [int(own + rng.uniform(0, 0.25) * (np.median(costs[:, k]) - own)) for k, own in enumerate(least)]
    also = tuple((m, _at_most(m, b)) for m, b in zip(METRICS[1:], bounds[1:], strict=True))
    budget = Budget.of(dense, Kept(amount=bounds[0]), "params", also)
    if (costs <= bounds).all(axis=1).any():
        assert budget.met_by(whole_of(tables, knapsack(tables, budget), fixed))
        return
    expected = {}
    for k, metric in enumerate(METRICS):
        others = np.delete(costs, k, axis=1) <= np.delete(bounds, k)
        if (meeting := costs[others.all(axis=1), k]).size:
            expected[metric] = int(meeting.min())
    found = {short.limit.metric: short.least for short in shortfalls(tables, budget.every)}
    if expected:
        assert found == expected
    else:  # several conflicts: one of them, whose limits cannot be met and all but one of which can
        names = [m for m in METRICS if m in found]
        own = costs[:, [METRICS.index(m) for m in names]]
        most = np.array([bounds[METRICS.index(m)] for m in names])
        assert len(names) == 2
        assert not (own <= most).all(axis=1).any()
        for k, metric in enumerate(names):
            assert found[metric] == own[own[:, 1 - k] <= most[1 - k], k].min()
    with pytest.raises(BudgetError, match="expected limits that can be met together"):
        knapsack(tables, budget)


def test_three_limits_in_conflict_pair_by_pair() -> None:
    """Raising one limit does not help, since the other two are in conflict too: one conflict is told."""
    layer = Layer("l", "linear", 40, 50, (), (), (), (), "zeros", 1, False, (Call((), ()),))
    rows = ((1, 9, 9), (9, 1, 9), (9, 9, 1))
    own = [
        Candidate("svd", "", (k,), Cost(params=p, flops=f, bytes=b), 1.0)
        for k, (p, f, b) in enumerate(rows, 1)
    ]
    dense = Cost(params=20, flops=20, bytes=20)
    table = Table(layer, (*own, Candidate(DENSE, "", (), dense, 0.0)), 9.0)
    also = tuple((m, _at_most(m, 5)) for m in METRICS[1:])
    budget = Budget.of(dense, Kept(amount=5), "params", also)
    assert [(x.limit.metric, x.least) for x in shortfalls([table], budget.every)] == [
        ("flops", 9),
        ("bytes", 9),
    ]


def whole_of(tables: list[Table], choice: tuple[int, ...], fixed: Cost) -> Cost:
    return sum((t.candidates[k].cost for t, k in zip(tables, choice, strict=True)), fixed)
