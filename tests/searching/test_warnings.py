"""What a search warns of: training that harmed the finalists, and allocators far behind the analytic plan."""

from __future__ import annotations

import pytest

from ranksearch.costs import Budget, Cost
from ranksearch.planning import Candidate, Plan
from ranksearch.searching.allocate import warn_if_far
from ranksearch.searching.better_state import by_better_state
from ranksearch.searching.front import Evaluated

HALF = Budget.of(Cost(params=100, flops=1000), 0.5)


def record(origin: str, rank: int, **scores: float) -> Evaluated:
    picked = Candidate("svd", "", (rank,), Cost(params=rank, flops=rank), 1 / rank)
    return Evaluated(Plan({"a": picked}, picked.cost), HALF, origin, "finetune", scores)


def test_finalists_count_by_their_better_state(caplog: pytest.LogCaptureFixture) -> None:
    records = [
        record("analytic", 1, before=0.02, finetune=0.01),
        record("sensitivities", 2, before=0.005, finetune=0.3),
        record("sensitivities", 3, before=0.03, finetune=0.02),
    ]
    ranked = by_better_state(records, "finetune", HALF)
    assert [found.plan.choices["a"].ranks for found in ranked] == [(2,), (1,), (3,)]
    assert "raised the divergence of 1 of 3 plans, at worst from 0.005 to 0.3" in caplog.text


def test_where_training_helps_its_result_counts(caplog: pytest.LogCaptureFixture) -> None:
    records = [
        record("analytic", 1, before=0.01, finetune=0.009),
        record("x", 2, before=0.05, finetune=0.004),
    ]
    ranked = by_better_state(records, "finetune", HALF)
    assert [found.origin for found in ranked] == ["x", "analytic"]
    assert [
        found.origin for found in by_better_state([record("a", 1, divergence=0.1)], "divergence", HALF)
    ] == ["a"]
    assert not caplog.records


@pytest.mark.parametrize(("own", "warned"), [(0.4, True), (0.29, False), (0.05, False), (float("inf"), True)])
def test_an_allocator_far_behind_the_analytic_plan(
    own: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    records = [
        record("analytic", 1, divergence=0.1),
        record("uniform", 2, divergence=9.0),
        record("evbmf", 3, divergence=own),
    ]
    warn_if_far(records, records[-1], "divergence")
    assert bool(caplog.records) == warned
    if warned:
        assert f"evbmf chose has a divergence of {own:.3g}, " in caplog.text
        assert "times the 0.1 of the analytic plan" in caplog.text
