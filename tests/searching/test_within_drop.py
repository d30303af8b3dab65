"""The smallest budget within a drop, on models whose drop is known."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest

from ranksearch.costs import Kept
from ranksearch.errors import BudgetError, InputError
from ranksearch.planning import Problem
from ranksearch.searching import (
    CONFIDENCE,
    LOOKS,
    SearchSettings,
    check_max_drop,
    look_confidence,
    predicted_errors,
    smallest_within,
)
from ranksearch.tasks import Drop

BUDGETS = [0.03 * (0.98 / 0.03) ** (k / 15) for k in range(16)]
CURVE = [(b, 0.011 * (0.5 / b) ** 3.3 * (1.01 - b)) for b in BUDGETS]


def shares(budget: float) -> tuple[float, float]:
    """How many examples a model of a budget loses and gains, of all there are."""
    error = 0.011 * (0.5 / budget) ** 3.3 * (1 - budget)
    discordant = min(0.9, 0.3 * error**0.5)
    lost = discordant * min(1.0, 0.52 + 0.3 * error)
    return lost, discordant - lost


def sampled(count: int, generator: random.Random) -> Callable[[Kept], tuple[str, Drop]]:
    """Models that are looked at on the same examples, of which each has its own threshold at which it changes."""
    draws = [generator.random() for _ in range(count)]

    def make(kept: Kept) -> tuple[str, Drop]:
        assert kept.fraction is not None
        lost, gained = shares(kept.fraction)
        b = sum(x < lost for x in draws)
        c = sum(x > 1 - gained for x in draws)
        return kept.name, Drop(100 * (b - c) / count, 1.0, count, 100.0, b, c)

    return make


def expected_drop(budget: float) -> float:
    lost, gained = shares(budget)
    return 100 * (lost - gained)


def test_the_confidence_is_divided_among_all_looks() -> None:
    assert LOOKS * (1 - look_confidence()) == pytest.approx(1 - CONFIDENCE)


@pytest.mark.parametrize("max_drop", [0.5, 1.0, 3.0, 20.0])
def test_the_chosen_budget_is_the_smallest_that_keeps_to_it(max_drop: float) -> None:
    found = smallest_within(CURVE, sampled(20_000, random.Random(0)), max_drop)
    assert 1 <= len(found.looks) <= LOOKS
    assert len({look.budget for look in found.looks}) == len(found.looks)
    assert found.chosen.kept
    assert found.chosen.bound <= max_drop
    kept = [look.budget.fraction or 0 for look in found.looks if look.kept]
    failed = [look.budget.fraction or 0 for look in found.looks if not look.kept]
    assert found.chosen.budget.fraction == min(kept)
    # Near the true edge: no more is given away than the interval of 20,000 examples is wide.
    edge = min(b / 1000 for b in range(30, 980) if expected_drop(b / 1000) <= max_drop)
    assert edge <= min(kept) * 1.03
    assert min(kept) <= max(3 * edge, 0.9)
    assert all(b < min(kept) for b in failed)


@pytest.mark.parametrize(("count", "max_drop"), [(150, 6.0), (1000, 1.5)])
def test_promises_hold_on_what_nobody_saw(count: int, max_drop: float) -> None:
    """The true drop of the chosen model exceeds what was promised no more often than stated, though six were seen."""
    wrong = promised = 0
    for seed in range(200):
        found = smallest_within(CURVE, sampled(count, random.Random(seed)), max_drop)
        promised += found.chosen.kept
        wrong += found.chosen.kept and expected_drop(found.chosen.budget.fraction or 1) > max_drop
    assert promised > 50
    assert wrong <= 0.025 * 200 + 3  # 2.5 % and a little chance


def test_where_no_budget_keeps_to_it_the_nearest_is_chosen() -> None:
    found = smallest_within(CURVE, sampled(100, random.Random(0)), 0.1)
    assert len(found.looks) == LOOKS
    assert not found.chosen.kept
    assert found.chosen.bound == min(look.bound for look in found.looks)


def test_where_every_budget_keeps_to_it_the_smallest_is_come_to() -> None:
    found = smallest_within(CURVE, lambda kept: (None, Drop(0.0, 0.0, 10_000, 100.0)), 5.0)
    assert found.chosen.budget.fraction == pytest.approx(0.03, rel=0.1)


def test_budgets_that_no_plan_meets() -> None:
    def make(kept: Kept) -> tuple[None, Drop]:
        if (kept.fraction or 0) < 0.5:
            raise BudgetError("budget: expected more")
        return None, Drop(0.0, 0.0, 10_000, 100.0)

    found = smallest_within(CURVE, make, 5.0)
    assert 0.5 <= (found.chosen.budget.fraction or 0) < 0.6

    def never(kept: Kept) -> tuple[None, Drop]:
        raise BudgetError("budget: expected more")

    with pytest.raises(BudgetError):
        smallest_within(CURVE, never, 5.0)


def test_predicted_errors_fall_as_budgets_rise(tiny_problem: Problem) -> None:
    curve = predicted_errors(tiny_problem, SearchSettings(budgets=(Kept(fraction=1.0),), metric="flops"))
    assert len(curve) > 5
    assert all(a[0] < b[0] and a[1] > b[1] > 0 for a, b in pairwise(curve))
    assert curve[-1][0] < 1


@pytest.mark.parametrize(("max_drop", "message"), [(-1.0, "a positive number"), (1.0, "at least 3")])
def test_what_cannot_be_shown_is_refused_at_once(
    tiny_problem: Problem, max_drop: float, message: str
) -> None:
    with pytest.raises(InputError, match=f"max_drop: expected {message}"):
        check_max_drop(tiny_problem.task, max_drop)
