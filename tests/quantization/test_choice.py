"""Which layers stay float, on costs that are known."""

from __future__ import annotations

from math import ceil, log2

import pytest

from ranksearch.quantization import choose_float

COSTS = (0.1, 3.0, 0.2, 1.0, 0.05, 0.6)


class Measured:
    """The divergence is the sum of the costs of the layers that are int8; what was measured is counted."""

    def __init__(self, costs: tuple[float, ...]) -> None:
        self.costs, self.count = costs, 0

    def __call__(self, kept: frozenset[int]) -> float:
        self.count += 1
        return sum(cost for k, cost in enumerate(self.costs) if k not in kept)


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (5.0, set()),
        (4.9, {1}),
        (1.96, {1}),
        (1.9, {1, 3}),
        (0.4, {1, 3, 5}),
        (0.1, {0, 1, 2, 3, 5}),
        (0.01, {0, 1, 2, 3, 4, 5}),
    ],
)
def test_the_fewest_of_the_most_sensitive_stay_float(limit: float, kept: set[int]) -> None:
    found = choose_float(len(COSTS), Measured(COSTS), limit)
    assert found.kept == kept


@pytest.mark.parametrize("layers", [1, 7, 8, 9, 100, 1001])
def test_the_number_of_evaluations_is_bounded(layers: int) -> None:
    measured = Measured(tuple(1.0 + k for k in range(layers)))
    found = choose_float(layers, measured, 0.3 * sum(measured.costs), groups=8)
    assert measured(found.kept) <= 0.3 * sum(measured.costs)
    assert found.evaluations == measured.count - 1 <= 1 + 8 + ceil(log2(8))


def test_nothing_is_int8_where_even_one_layer_is_too_much() -> None:
    assert choose_float(3, Measured((1.0, 1.0, 1.0)), 0.0).kept == {0, 1, 2}
    assert choose_float(1, Measured((1.0,)), 0.5).kept == {0}
