"""Times of candidates, corrected by what they took within plans, against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ranksearch.costs import Cost
from ranksearch.networks import Call, Layer
from ranksearch.planning import DENSE, Candidate, Plan, Repricing, Table, Tables

LAYER = Layer("a", "linear", 8, 8, (), (), (), (), "zeros", 1, False, (Call((), ()),))


def candidate(name: str, rank: int, latency: int) -> Candidate:
    return Candidate(name, "", (rank,), Cost(params=rank, flops=rank, latency=latency), 1 / rank)


DENSE_ONE = Candidate(DENSE, "", (), Cost(params=64, flops=64, latency=1000), 0.0)
TABLE = Table(
    LAYER,
    (
        candidate("svd", 1, 100),
        candidate("svd", 2, 200),
        candidate("svd", 4, 400),
        candidate("cp", 3, 300),
        DENSE_ONE,
    ),
    scale=1.0,
)
TABLES = (TABLE, replace(TABLE, layer=replace(LAYER, name="b")))


def plan(a: int, b: int) -> Plan:
    picked = {"a": TABLE.candidates[a], "b": TABLE.candidates[b]}
    return Plan(picked, Cost(params=0, flops=0, latency=0))


def latencies(repricing: Repricing) -> list[int]:
    first, second = repricing.of(TABLES)
    assert first.candidates == second.candidates  # of layers of the same shape
    assert [c.ranks for c in first.candidates] == [c.ranks for c in TABLE.candidates]
    return [c.cost.of("latency") for c in first.candidates]


def test_nothing_is_known_at_first() -> None:
    assert Repricing().of(TABLES) == TABLES


def test_a_form_is_corrected_in_every_layer_of_the_shape() -> None:
    known = Repricing().knowing(TABLES, plan(0, 4), "latency", {"a": 150e-9, "b": 1000e-9})
    assert latencies(known) == [150, 300, 600, 300, 1000]


def test_between_two_plans_the_factor_is_interpolated() -> None:
    known = Repricing().knowing(TABLES, plan(0, 2), "latency", {"a": 200e-9, "b": 400e-9})
    middle = round(
        200 * 2 ** (2 / 3)
    )  # a third of the way from 100, which took twice as long, to 400, which did not
    assert latencies(known) == [200, middle, 400, 300, 1000]


def test_of_several_measurements_of_one_time_the_geometric_mean_counts() -> None:
    known = Repricing().knowing(TABLES, plan(0, 0), "latency", {"a": 100e-9, "b": 400e-9})
    assert latencies(known) == [200, 400, 800, 300, 1000]


def test_what_was_not_timed_is_left_alone() -> None:
    known = Repricing().knowing(TABLES, plan(0, 1), "latency", {"b": 0.0})
    assert latencies(known) == [100, 200, 400, 300, 1000]


def test_the_cost_of_a_plan_is_that_of_its_corrected_candidates() -> None:
    tables = Tables((LAYER, TABLES[1].layer), Cost(params=200, flops=200, latency=3000), TABLES)
    known = Repricing().knowing(TABLES, plan(0, 3), "latency", {"a": 150e-9, "b": 270e-9})
    assert known.cost(tables, plan(1, 3)).of("latency") == 3000 - 2000 + 300 + 270
    assert known.cost(tables, plan(1, 3)).params == 200 - 128 + 2 + 3


def test_flops_may_count_in_place_of_times() -> None:
    """The dense layer takes 1000 for 64 multiply-accumulates."""
    known = Repricing().knowing(TABLES, plan(0, 0), "latency", {"a": 200e-9, "b": 200e-9})
    halfway = [c.cost.of("latency") for c in known.of(TABLES, flops=0.5)[0].candidates]
    by_flops = [1000 * c.cost.flops / 64 for c in TABLE.candidates]
    assert halfway == [round((t + f) / 2) for t, f in zip([200, 400, 800, 300, 1000], by_flops, strict=True)]


@pytest.mark.parametrize("metric", ["params", "flops"])
def test_only_times_are_corrected(metric: str) -> None:
    known = Repricing().knowing(TABLES, plan(0, 0), "latency", {"a": 700e-9, "b": 700e-9})
    for before, after in zip(TABLES, known.of(TABLES), strict=True):
        assert list(before.costs(metric)) == list(after.costs(metric))
