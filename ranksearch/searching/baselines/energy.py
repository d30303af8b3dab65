"""`energy`: every layer keeps the same fraction of its energy, the sum of its squared singular values.

Thresholds on the energy are the oldest automatic choice of ranks; the accuracy of a network is assumed to
follow the product of the layers' energies by Zhang et al. 2016 (arXiv:1505.06798), who maximise it greedily;
with one threshold for all layers it is what BALF (arXiv:2509.25136) compares with.
"""

from __future__ import annotations

from ranksearch.planning import CandidateConfig, Choice, energy
from ranksearch.searching.baselines.base import Allocator, Context


def allocate(context: Context) -> Choice:
    """The largest common fraction of 1 − ε / scale that fits; the rest is spent in the same order."""
    problem = context.problem
    return energy(problem.tables, context.budget)


ENERGY = Allocator("energy", allocate, CandidateConfig(decompositions=("svd",), error="plain"), weighs=True)
