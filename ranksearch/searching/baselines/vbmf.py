"""Empirical variational Bayesian matrix factorisation: which components of a matrix are signal.

Nakajima, Sugiyama, Babacan & Tomioka, Global analytic solution of fully-observed variational Bayesian matrix
factorization, JMLR 14, 2013: the threshold of the empirical Bayes solution, and the noise that minimises its
free energy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

_TAU = 2.5129
"""τ̄ ≈ 2.5129 √α, where the free energy of a component with and without signal is equal for singular values."""


def threshold(values: NDArray[np.float64], rows: int, columns: int) -> float:
    """The singular value above which a component of a rows × columns matrix is signal.

    values: all min(rows, columns) singular values, descending. The noise minimises the free energy between
    the paper's bounds.
    """
    low, high = min(rows, columns), max(rows, columns)
    alpha = low / high
    tau = _TAU * np.sqrt(alpha)
    edge = (1 + tau) * (1 + alpha / tau)
    squares = np.maximum(np.asarray(values, float)[:low] ** 2, np.finfo(float).tiny)
    most = int(np.ceil(low / (1 + alpha))) - 1
    upper = squares.sum() / (low * high)
    lower = max(squares[most] / (high * edge), squares[most:].mean() / high)
    if lower >= upper:
        return float(np.sqrt(high * upper * edge))

    def free_energy(log_noise: float) -> float:
        x = squares / (high * np.exp(log_noise))
        noise, signal = x[x <= edge], x[x > edge]
        t = (signal - 1 - alpha + np.sqrt((signal - 1 - alpha) ** 2 - 4 * alpha)) / 2
        kept = signal - t + np.log((t + 1) / signal) + alpha * np.log(t / alpha + 1)
        return float((noise - np.log(noise)).sum() + kept.sum())

    # The free energy has a kink wherever a singular value crosses the edge: a grid first, then a local search.
    grid = np.linspace(np.log(lower), np.log(upper), 200)
    k = int(np.argmin([free_energy(point) for point in grid]))
    bounds = (grid[max(0, k - 1)], grid[min(len(grid) - 1, k + 1)])
    best = minimize_scalar(free_energy, bounds=bounds, method="bounded").x
    return float(np.sqrt(high * np.exp(best) * edge))
