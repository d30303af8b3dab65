"""`evbmf`: the rank that variational Bayes finds in each unfolding of a kernel, at thresholds that meet the budget.

Kim, Park, Yoo, Choi, Yang & Shin, Compression of deep convolutional neural networks for fast and low power
mobile applications, ICLR 2016 (arXiv:1511.06530), section 3.2: the two ranks of Tucker-2 are those of empirical
variational Bayes (see `vbmf`) in the unfoldings by output and by input channels. It takes no budget: here one
factor scales the thresholds of all unfoldings. In whitened coordinates the unfoldings are those of the whitened
kernel.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.planning import CandidateConfig, Choice, Problem, Table
from ranksearch.searching.baselines.base import Allocator, Context
from ranksearch.searching.baselines.rules import least_level
from ranksearch.searching.baselines.vbmf import threshold


def evbmf(context: Context) -> Choice:
    """The smallest factor such that all ranks of singular values above factor · threshold fit."""
    return least_level(context, [needed_factors(context.problem, t) for t in context.problem.tables])


def over_threshold(energies: Tensor, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Singular values of a matrix over its threshold."""
    values: NDArray[np.float64] = energies.sqrt().cpu().numpy()
    return values / max(threshold(values, *shape), 1e-300)


def needed_factors(problem: Problem, table: Table) -> NDArray[np.float64]:
    """Per candidate the least factor at which its ranks suffice: its largest discarded singular value / threshold."""
    white = problem.fits.whitened(table.layer.name)

    @cache
    def relative(name: str, form: str) -> list[NDArray[np.float64]]:
        each = [
            [over_threshold(*cut) for cut in DECOMPOSITIONS.get(name).spectra(group, form)]
            for group in white.groups
        ]
        return [np.maximum.reduce(cut) for cut in zip(*each, strict=True)]

    def left(values: NDArray[np.float64], rank: int) -> float:
        return float(values[rank]) if rank < len(values) else 0.0

    svd = torch.stack([group.output_energies for group in white.groups]).sum(0).cpu().numpy()
    tails = np.append(svd[::-1].cumsum()[::-1], 0.0) / 2
    factors = []
    for candidate in table.candidates:
        cuts = [] if candidate.is_dense else relative(candidate.decomposition, candidate.form)
        ranks = candidate.ranks
        if not candidate.is_dense and len(cuts) != len(ranks):
            # Ranks without an unfolding each (CP): the rank of an SVD with the same error is used.
            cuts, ranks = relative("svd", ""), (int((tails > candidate.error).sum()),)
        factors.append(max((left(values, r) for values, r in zip(cuts, ranks, strict=True)), default=0.0))
    return np.array(factors)


EVBMF = Allocator(
    "evbmf", evbmf, CandidateConfig(decompositions=("tucker2", "svd"), error="plain", iterations=0)
)
