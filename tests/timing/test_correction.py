"""From predicted times to measured ones."""

from __future__ import annotations

import pytest

from ranksearch.timing import TimedOn, Times, interpolated

ON = TimedOn("torch", "2.6", 1, 2)


def test_without_plans_a_prediction_is_taken_as_it_is() -> None:
    assert Times(ON).measured(0.4) == Times(ON).predicted(0.4) == 0.4


def test_between_measured_plans_it_is_linear_and_beyond_them_leads_to_the_dense_model() -> None:
    times = Times(ON, ((0.2, 0.4), (0.6, 0.6)))
    assert times.measured(0.2) == pytest.approx(0.4)
    assert times.measured(0.4) == pytest.approx(0.5)
    assert times.measured(0.6) == pytest.approx(0.6)
    assert times.measured(0.8) == pytest.approx(0.8)  # from (0.6, 0.6) to (1, 1)
    assert times.measured(0.1) == pytest.approx(1 - 0.9 * 0.6 / 0.8)  # from (0.2, 0.4) to (1, 1), and on
    for share in (0.35, 0.45, 0.55, 0.7):
        assert times.measured(times.predicted(share)) == pytest.approx(share)


def test_plans_in_the_wrong_order_are_noise() -> None:
    """A plan that was predicted to be slower and measured to be faster: the line through the nearer one counts."""
    assert interpolated([(0.4, 0.5), (0.6, 0.45)], 0.45) == pytest.approx(1 - 0.55 * 0.5 / 0.6)


def test_what_times_were_measured_on_can_be_read() -> None:
    assert str(TimedOn("onnxruntime", "1.18", 32, 1)) == "onnxruntime 1.18 (batch 32, 1 thread)"
    assert str(ON) == "torch 2.6 (batch 1, 2 threads)"
