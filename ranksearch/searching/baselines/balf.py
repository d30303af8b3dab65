"""`balf`: activation-aware errors as fractions of each layer's energy, their sum minimised by a Lagrangian.

González-Martínez, BALF: Budgeted activation-aware low-rank factorization for fine-tuning-free model
compression, 2025, arXiv:2509.25136: the truncated SVD of W A^½, whose normalised singular spectrum is the
distortion of a layer at each rank; ranks by Lagrangian relaxation under a budget of FLOPs or parameters.
"""

from __future__ import annotations

import numpy as np

from ranksearch.planning import CandidateConfig, Choice
from ranksearch.searching.baselines.base import Allocator, Context
from ranksearch.searching.baselines.rules import one_price


def balf(context: Context) -> Choice:
    """Errors relative to that of the zero kernel, so that all layers count equally."""
    tiny = np.finfo(float).tiny
    return one_price(context, [table.errors() / max(table.scale, tiny) for table in context.problem.tables])


BALF = Allocator("balf", balf, CandidateConfig(decompositions=("svd",), error="activation"))
