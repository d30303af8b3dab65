"""Ranks in multiples where that costs next to nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ranksearch.costs import Budget, Cost
from ranksearch.errors import BudgetError
from ranksearch.networks import Call, Layer
from ranksearch.planning import Candidate, Table, Tables, aligned, analytic
from ranksearch.planning.alignment import PREFERRED, SLACK


def tables(*errors: float) -> Tables:
    """One layer of 100 parameters; candidates of ranks 7, 8 and 12 with these errors, which cost 40, 40 and 45."""
    rows = [("svd", (7,), 40), ("svd", (8,), 40), ("svd", (12,), 45)]
    dense = Candidate("dense", "", (), Cost(params=100, flops=100), 0.0)
    own = [
        Candidate(name, "", ranks, Cost(params=cost, flops=cost), error)
        for (name, ranks, cost), error in zip(rows, errors, strict=True)
    ]
    layer = Layer("l", "linear", 10, 10, (), (), (), (), "zeros", 1, False, (Call((), ()),))
    return Tables((layer,), Cost(params=100, flops=100), (Table(layer, (*own, dense), 1.0),))


def budget(fraction: float, whole: Tables) -> Budget:
    return Budget.of(whole.dense, fraction, "params")


def ranks(whole: Tables) -> set[tuple[int, ...]]:
    return {candidate.ranks for candidate in whole.tables[0].candidates}


def test_the_first_multiple_that_costs_next_to_nothing_is_taken() -> None:
    whole = tables(1.0, SLACK - 1e-6, 0.9)
    assert ranks(aligned(whole, budget(0.42, whole), PREFERRED)) == {(8,), ()}
    dear = tables(1.0, 1.2, 0.9)
    assert ranks(aligned(dear, budget(0.5, dear), PREFERRED)) == {
        (8,),
        (12,),
        (),
    }  # 8 costs a third more, 4 nothing
    assert aligned(dear, budget(0.42, dear), PREFERRED) is dear


def test_all_candidates_stay_where_no_multiple_is_asked_for_or_fits() -> None:
    whole = tables(1.0, 1.0, 1.0)
    assert aligned(whole, budget(0.42, whole), ()) is whole
    assert aligned(whole, budget(0.42, whole), (16,)) is whole
    with pytest.raises(BudgetError):
        aligned(whole, budget(0.1, whole), PREFERRED)


def test_weights_of_layers_count() -> None:
    whole = tables(1.0, 1.04, 0.9)
    heavy = replace(whole, tables=(replace(whole.tables[0], weight=0.0),))
    assert ranks(aligned(heavy, budget(0.42, heavy), PREFERRED)) == {(8,), ()}


def test_the_plan_keeps_to_the_multiple() -> None:
    whole = tables(1.0, 1.01, 0.9)
    found = aligned(whole, asked := budget(0.42, whole), PREFERRED)
    assert found.plan(analytic(found.tables, asked)).choices[found.tables[0].layer.name].ranks == (8,)
