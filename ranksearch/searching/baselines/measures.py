"""Errors of candidates other than ε, measured on the fits that a table is based on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksearch.calibration import NearDiagonal, Whitened
from ranksearch.networks import Factor, reconstruct
from ranksearch.planning import Candidate, Fit, Problem, Table, fits_by_group

_TINY = 1e-12
_MEASURED = 6


def interpolated(
    problem: Problem, table: Table, measure: Callable[[Whitened, Fit], float]
) -> NDArray[np.float64]:
    """One number per candidate, 0 for the dense layer.

    Some candidates of each form are measured; for the others the ratio of the measure to ε is interpolated
    linearly in the logarithm of the parameters.
    """
    white = problem.fits.whitened(table.layer.name)
    floor = _TINY * max(table.scale, np.finfo(float).tiny / _TINY)
    nodes: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for candidate in _some_of_each_form(table):
        fit = problem.fits.fit(table.layer, candidate)
        measured = sum(measure(*group) for group in fits_by_group(white, fit))
        ratio = max(measured, floor) / max(candidate.error, floor)
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


def _some_of_each_form(table: Table) -> list[Candidate]:
    forms: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in table.candidates:
        if not candidate.is_dense:
            forms.setdefault((candidate.decomposition, candidate.form), []).append(candidate)
    picked = []
    for own in forms.values():
        picked += [own[k] for k in sorted({round(k) for k in np.linspace(0, len(own) - 1, _MEASURED)})]
    return picked


def whitened_residual(white: Whitened, fit: Fit) -> Tensor:
    """The residual of a fit in coordinates where ε is half a sum of squares, (O, n)."""
    approximation = reconstruct(fit.chain, fit.factors, white.kernel.shape[2:])
    return white.root.weigh((white.kernel - approximation).flatten(1))


def layer_residual(white: Whitened, fit: Fit) -> Tensor:
    """The residual of a fit in the layer's own coordinates, (O, n)."""
    o, i, *taps = white.kernel.shape
    (kernel,) = white.to_layer((Factor(i, o, tuple(range(len(taps)))),), (white.kernel,))
    return (kernel - reconstruct(fit.chain, white.to_layer(fit.chain, fit.factors), tuple(taps))).flatten(1)


def column_moments(white: Whitened) -> Tensor:
    """The diagonal of A, (n,)."""
    modes = white.kernel.shape[1:]
    columns = white.root.matrix.reshape(*modes, -1)
    unit = white.kernel.new_full((*modes,), white.root.ridge)
    for mode, (half, _) in enumerate((white.input_root, *white.axis_roots)):
        full = (torch.diag(half) if half.dim() == 1 else half).to(columns.dtype)
        columns = torch.tensordot(full, columns, dims=([1], [mode])).movedim(0, mode)
        own = full.square().sum(1)
        unit = unit * own.reshape(-1, *(1 for _ in range(len(modes) - mode - 1)))
    return columns.square().sum(-1).flatten() + unit.flatten()


def mean_gradient(white: Whitened) -> float:
    """The mean of G's diagonal."""
    half, _ = white.output_root
    energy = half.energy if isinstance(half, NearDiagonal) else float(half.square().sum())
    return energy / len(white.kernel)
