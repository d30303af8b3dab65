"""The threshold of empirical variational Bayes: planted ranks, known noise, and numbers of the published algorithm."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ranksearch.searching.baselines.vbmf import threshold


@pytest.mark.parametrize(("rows", "columns"), [(40, 160), (160, 40), (64, 64), (16, 144)])
@pytest.mark.parametrize("rank", [0, 1, 5])
def test_planted_ranks_and_noise_are_found(rows: int, columns: int, rank: int) -> None:
    rng = np.random.default_rng(rank)
    noise = 0.1
    planted = rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))
    values = np.linalg.svd(planted + noise * rng.normal(size=(rows, columns)), compute_uv=False)
    found = threshold(values, rows, columns)
    assert int((values > found).sum()) == rank
    # threshold² = M σ² (1 + τ̄)(1 + α / τ̄)
    low, high = min(rows, columns), max(rows, columns)
    tau = 2.5129 * np.sqrt(low / high)
    variance = found**2 / (high * (1 + tau) * (1 + low / high / tau))
    assert variance == pytest.approx(noise**2, rel=0.1)


@pytest.mark.parametrize(
    ("values", "rows", "columns", "expected", "rank"),
    # By a search of the authors' free energy over 200,000 noise variances between their bounds.
    [
        (10 * 0.8 ** np.arange(20), 20, 50, 1.51334, 9),
        (5 * 0.9 ** np.arange(16), 16, 144, 2.73843, 6),
        (np.array([10, 4, 1, 0.5]), 4, 6, 5.53676, 1),
        (np.concatenate([[30, 20, 10], np.linspace(4, 0.2, 7)]), 10, 10, 7.36310, 3),
    ],
)
def test_numbers_of_the_published_algorithm(
    values: NDArray[np.float64], rows: int, columns: int, expected: float, rank: int
) -> None:
    found = threshold(values, rows, columns)
    assert found == pytest.approx(expected, rel=1e-4)
    assert int((values > found).sum()) == rank


def test_scale_and_transposition() -> None:
    values = np.linspace(9, 1, 9)
    found = threshold(values, 9, 30)
    assert threshold(values, 30, 9) == found
    assert threshold(7 * values, 9, 30) == pytest.approx(7 * found, rel=1e-4)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 9), (2, 2), (3, 5)])
def test_small_and_empty_matrices_have_a_finite_threshold(rows: int, columns: int) -> None:
    for values in (np.zeros(min(rows, columns)), np.ones(min(rows, columns))):
        assert 0 < threshold(values, rows, columns) < np.inf
