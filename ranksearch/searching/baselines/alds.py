"""`alds`: the largest relative error of any layer is minimised, errors in the operator norm.

Liebenwein, Maalouf, Feldman & Rus, Compressing neural networks: towards determining the optimal layer-wise
decomposition, NeurIPS 2021 (arXiv:2107.11442), section 2.2: min over ranks of the max over layers of
‖W − W_r‖ / ‖W‖ under a budget; for the SVD that is σ_{r+1} / σ_1. They also slice a layer's input channels into
groups with a factorisation each; here every layer is one group.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ranksearch.calibration import Whitened
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.planning import CandidateConfig, Choice, Fit, Problem, Table
from ranksearch.searching.baselines.base import Allocator, Context
from ranksearch.searching.baselines.measures import interpolated, whitened_residual
from ranksearch.searching.baselines.rules import least_level


def alds(context: Context) -> Choice:
    """Min-max of the relative operator norm, in the coordinates in which candidates were fitted."""
    return least_level(context, [relative_norms(context.problem, t) for t in context.problem.tables])


def relative_norms(problem: Problem, table: Table) -> NDArray[np.float64]:
    """‖R‖² / ‖W‖² in the operator norm, one per candidate: exact for the SVD, else between fitted ranks. Of groups of
    channels, the sum of theirs."""
    groups = problem.fits.whitened(table.layer.name).groups
    values = torch.stack([group.output_energies for group in groups]).sum(0).cpu().numpy()
    norms = interpolated(problem, table, _squared_norm)
    for k, candidate in enumerate(table.candidates):
        if not candidate.is_dense and DECOMPOSITIONS.get(candidate.decomposition).closed_form:
            (rank,) = candidate.ranks
            norms[k] = values[rank] if rank < len(values) else 0.0
    return np.asarray(norms / max(values[0], np.finfo(float).tiny))


def _squared_norm(white: Whitened, fit: Fit) -> float:
    return float(torch.linalg.matrix_norm(whitened_residual(white, fit), ord=2)) ** 2


ALDS = Allocator("alds", alds, CandidateConfig(decompositions=("svd",), error="plain"))
