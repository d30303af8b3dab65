"""Rank correlations of scores, against values worked out by hand."""

from __future__ import annotations

import pytest

from ranksearch.costs import Budget, Cost
from ranksearch.planning import Candidate, Plan
from ranksearch.searching import describe_correlation
from ranksearch.searching.front import Evaluated, State
from ranksearch.searching.front_file import CorrelationRecord, correlation_record
from ranksearch.searching.rank_correlation import rank_correlations


def evaluated(rank: int, *, budget: float = 0.5, state: State = "complete", **scores: float) -> Evaluated:
    plan = Plan(
        {"fc": Candidate("svd", "", (rank,), Cost(params=10, flops=0), 0.5)}, Cost(params=10, flops=0)
    )
    of = Budget.of(Cost(params=100, flops=0), budget)
    return Evaluated(plan, of, "sensitivities", "divergence", scores, state=state)


def test_spearman_by_hand() -> None:
    """Ranks (1 2 3 4) against (1 3 2 4): 1 − 6 · 2 / (4 · 15) = 0.8; the values themselves do not matter."""
    divergences = [0.1, 7.0, 0.2, 100.0]
    plans = [evaluated(k, error=k + 1.0, divergence=d) for k, d in enumerate(divergences)]
    (found,) = rank_correlations(plans)
    assert (found.budget.fraction, found.cheap, found.expensive, found.plans) == (
        0.5,
        "error",
        "divergence",
        4,
    )
    assert found.correlation == pytest.approx(0.8)


def test_each_score_is_compared_with_the_next_dearer_one_by_budget() -> None:
    plans = [
        evaluated(k, budget=b, error=k, divergence=-k * b, finetune=k * b)
        for k in range(5)
        for b in (0.2, 0.5)
    ]
    found = rank_correlations(plans)
    assert [(f.budget.fraction, f.cheap, f.expensive) for f in found] == [
        (b, *pair) for b in (0.2, 0.5) for pair in (("error", "divergence"), ("divergence", "finetune"))
    ]
    assert all(f.correlation == pytest.approx(-1.0) for f in found)


def test_the_next_dearer_score_is_one_that_the_plans_have() -> None:
    """Trials scored as delivered have no divergence of quick fits: ε is compared with what there is."""
    plans = [evaluated(k, budget=0.2, error=k, refitted=k) for k in range(5)]
    plans += [evaluated(k, budget=0.5, error=k, divergence=-k, refitted=k) for k in range(5)]
    found = [(f.budget.fraction, f.cheap, f.expensive, f.correlation) for f in rank_correlations(plans)]
    assert found == [
        (0.2, "error", "refitted", pytest.approx(1.0)),
        (0.5, "error", "divergence", pytest.approx(-1.0)),
        (0.5, "divergence", "refitted", pytest.approx(-1.0)),
    ]


def test_only_distinct_complete_plans_with_finite_scores_count() -> None:
    plans = [evaluated(k, error=k, divergence=k) for k in range(4)]
    others = [
        evaluated(0, error=0.0, divergence=0.0),
        evaluated(9, error=1.0, divergence=float("inf")),
        evaluated(8, state="infeasible", error=1.0, divergence=0.0),
        evaluated(7, error=1.0),
    ]
    (found,) = rank_correlations(plans + others)
    assert (found.plans, found.correlation) == (4, pytest.approx(1.0))


@pytest.mark.parametrize("errors", [[1.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0]])
def test_no_correlation_of_few_or_equal_scores(errors: list[float]) -> None:
    (found,) = rank_correlations([evaluated(k, error=e, divergence=k) for k, e in enumerate(errors)])
    assert found.correlation is None
    assert "too few" in describe_correlation(correlation_record(found))


def test_described_in_one_sentence() -> None:
    found = CorrelationRecord(
        budget=0.2, asked="0.2", cheap="error", expensive="divergence", plans=42, correlation=0.934
    )
    wanted = "budget 0.2: ε ranks 42 plans as divergence does with a Spearman correlation of 0.93"
    assert describe_correlation(found) == wanted
