"""Paired differences and their intervals, against published values, closed forms, scipy and exact enumeration."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import multinomial, norm, ttest_rel

from ranksearch.tasks import Drop, least_upper

Z = float(norm.ppf(0.975))


@pytest.mark.parametrize(
    ("lost", "gained", "count", "low", "high"),
    [
        (
            1,
            7,
            21,
            -0.517,
            -0.026,
        ),  # Fagerland, Lydersen & Laake 2014, airway hyper-responsiveness, Tango's interval
        (0, 0, 50, -(Z**2) / (50 + Z**2), Z**2 / (50 + Z**2)),  # Wilson's for no event
        (20, 0, 20, 1 - 2 * Z**2 / (20 + Z**2), 1.0),  # a mean of numbers from −1 to 1
    ],
)
def test_the_score_interval(lost: int, gained: int, count: int, low: float, high: float) -> None:
    found = Drop((lost - gained) / count, 0.1, count, 1.0, lost, gained).interval()
    assert found == pytest.approx((low, high), abs=6e-4)


@pytest.mark.parametrize("alpha", [0.025, 0.025 / 6])
def test_the_upper_end_is_missed_no_more_often_than_it_may(alpha: float) -> None:
    """By summing over all outcomes, for losses of all sizes: where the loss is positive the bound is honest."""
    n = 30
    outcomes = [(b, c, n - b - c) for b in range(n + 1) for c in range(n + 1 - b)]
    upper = [Drop(0, 0, n, 1.0, b, c).upper(1 - alpha) for b, c, _ in outcomes]
    for lost, gained in ((0.02, 0.0), (0.05, 0.02), (0.1, 0.05), (0.1, 0.0), (0.3, 0.1), (0.5, 0.0)):
        weights = multinomial(n, [lost, gained, 1 - lost - gained]).pmf(outcomes)
        missed = sum(w for w, u in zip(weights, upper, strict=True) if u < lost - gained - 1e-9)
        assert missed <= 1.1 * alpha, (lost, gained)


def test_scores_of_an_accuracy_are_counted() -> None:
    before = torch.tensor([100.0, 100, 0, 0, 100, 0])
    after = torch.tensor([100.0, 0, 0, 100, 0, 0])
    found = Drop.of(before, after)
    assert (found.step, found.lost, found.gained, found.count) == (100.0, 2, 1, 6)
    assert found.mean == pytest.approx(100 / 6)


def test_other_scores_have_students_interval() -> None:
    generator = torch.Generator().manual_seed(0)
    before, after = torch.randn(2, 40, generator=generator, dtype=torch.float64)
    found = Drop.of(before, after)
    wanted = ttest_rel(before.numpy(), after.numpy()).confidence_interval(0.95)
    assert found.interval() == pytest.approx((wanted.low, wanted.high))
    assert found.step == 0


def test_nothing_lost_is_no_certainty() -> None:
    same = torch.full((200,), 100.0)
    found = Drop.of(same, same)
    assert (found.mean, found.lost) == (0, 0)
    assert found.upper(0.975) == least_upper(200, 100.0, 0.975) > 1
    assert least_upper(2000, 100.0, 0.975) < 0.2
    assert Drop.of(torch.tensor([1.0]), torch.tensor([0.5])).upper(0.9) == 1.0 * 0.5
    assert Drop(float("inf"), 0.0, 9).upper(0.9) == float("inf")
