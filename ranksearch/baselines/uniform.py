"""`uniform`: every layer keeps the same fraction of its cost.

The baseline of every paper on rank selection; as published with the plain truncated SVD.
"""

from __future__ import annotations

from ranksearch import allocation
from ranksearch.baselines.base import Baseline, Context
from ranksearch.candidates import CandidateConfig
from ranksearch.walking import Choice


def uniform(context: Context) -> Choice:
    """The largest common fraction that fits; the rest is spent in the same order."""
    problem = context.problem
    return allocation.uniform(problem.tables, context.limit, context.metric, problem.dense)


UNIFORM = Baseline("uniform", uniform, CandidateConfig(decompositions=("svd",), error="plain"))
