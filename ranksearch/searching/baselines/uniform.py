"""`uniform`: every layer keeps the same fraction of its cost.

The baseline of every paper on rank selection; as published with the plain truncated SVD.
"""

from __future__ import annotations

from ranksearch.planning import CandidateConfig, Choice, uniform
from ranksearch.searching.baselines.base import Allocator, Context


def allocate(context: Context) -> Choice:
    """The largest common fraction that fits; the rest is spent in the same order."""
    problem = context.problem
    return uniform(problem.tables, context.budget)


UNIFORM = Allocator("uniform", allocate, CandidateConfig(decompositions=("svd",), error="plain"))
