"""Other errors of candidates than ε, measured on the fits that a table rests on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksearch.chain import Factor, reconstruct
from ranksearch.metric import Whitened
from ranksearch.plan import Table
from ranksearch.problem import Problem
from ranksearch.refine import Fit

_TINY = 1e-12


def interpolated(
    problem: Problem, table: Table, measure: Callable[[Whitened, Fit], float]
) -> NDArray[np.float64]:
    """One number per candidate, 0 for the dense layer.

    Candidates that were not fitted take the ratio of the measure to ε that lies between the fitted ranks of
    their form, linear in the logarithm of the parameters.
    """
    white, grid = problem.fits.whitened[table.layer.name], problem.fits.grid[table.layer.name]
    floor = _TINY * max(table.scale, np.finfo(float).tiny / _TINY)
    nodes: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for candidate, fit in grid:
        ratio = max(measure(white, fit), floor) / max(candidate.error, floor)
        at = (float(np.log(candidate.cost.params)), float(np.log(ratio)))
        nodes.setdefault((candidate.decomposition, candidate.form), []).append(at)
    found = []
    for candidate in table.candidates:
        if candidate.is_dense:
            found.append(0.0)
            continue
        x, y = zip(*sorted(nodes[candidate.decomposition, candidate.form]), strict=True)
        ratio = float(np.exp(np.interp(np.log(candidate.cost.params), x, y)))
        found.append(max(candidate.error, floor) * ratio)
    return np.array(found)


def whitened_residual(white: Whitened, fit: Fit) -> Tensor:
    """What a fit leaves of the kernel in coordinates where ε is half a sum of squares, (O, n)."""
    approximation = reconstruct(fit.chain, [f.double() for f in fit.factors], white.kernel.shape[2:])
    return white.target - approximation.flatten(1) @ white.root


def layer_residual(white: Whitened, fit: Fit) -> Tensor:
    """What a fit leaves of the kernel in the layer's own coordinates, (O, n)."""
    o, i, *taps = white.kernel.shape
    (kernel,) = white.to_layer((Factor(i, o, tuple(range(len(taps)))),), (white.kernel,))
    return (kernel - reconstruct(fit.chain, white.to_layer(fit.chain, fit.factors), tuple(taps))).flatten(1)


def column_moments(white: Whitened) -> Tensor:
    """The diagonal of A, (n,)."""
    modes = white.kernel.shape[1:]
    root = white.root.reshape(*modes, -1)
    for mode, (half, _) in enumerate((white.input_root, *white.axis_roots)):
        root = torch.tensordot(half, root, dims=([1], [mode])).movedim(0, mode)
    return root.reshape(white.root.shape).square().sum(dim=1)


def mean_gradient(white: Whitened) -> float:
    """The mean of G's diagonal."""
    half, _ = white.output_root
    return float(half.square().sum()) / len(half)
