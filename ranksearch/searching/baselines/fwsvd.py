"""`fwsvd`: errors weighted by the Fisher information of the rows of a weight, the same share for every layer.

Hsu, Hua, Chang, Lou, Shen & Jin, Language model compression with weighted low-rank factorization, ICLR 2022
(arXiv:2207.00112), section 4: with the Fisher information summed over a row, that is over all outputs of an
input, the weighted problem is solved by one SVD; all layers keep the same share. They estimate the Fisher
information by squared gradients of single weights; here it comes from the moments, A_ii · G_oo.
"""

from __future__ import annotations

from ranksearch.calibration import Whitened
from ranksearch.planning import CandidateConfig, Choice, Fit, uniform
from ranksearch.searching.baselines.base import Allocator, Context
from ranksearch.searching.baselines.measures import (
    column_moments,
    interpolated,
    layer_residual,
    mean_gradient,
)


def fwsvd(context: Context) -> Choice:
    """The same fraction of cost for all layers, each with its candidate of least row-weighted error."""
    problem = context.problem
    errors = [interpolated(problem, table, row_weighted) for table in problem.tables]
    return uniform(problem.tables, context.budget, errors=errors)


def row_weighted(white: Whitened, fit: Fit) -> float:
    """½ Σ A_ii · mean G_oo · ΔW_oi², in units of the loss."""
    residual = layer_residual(white, fit)
    return 0.5 * mean_gradient(white) * float((residual.square() * column_moments(white)).sum())


FWSVD = Allocator("fwsvd", fwsvd, CandidateConfig(decompositions=("svd",), error="rows"))
