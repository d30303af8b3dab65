"""`lc`: ranks that minimise λ · cost + ‖W − W_r‖², one λ for all layers.

Idelbayev & Carreira-Perpiñán, Low-rank compression of neural nets: learning the rank of each layer, CVPR 2020,
pp. 8049-8059: the C step of their learning-compression algorithm has this solution per layer, by enumeration
of the ranks. The L steps, which train the weights towards it, are left out: no method here trains before ranks are
chosen. They set λ by hand; here the least λ that meets the budget is found.
"""

from __future__ import annotations

from ranksearch.planning import CandidateConfig, Choice
from ranksearch.searching.baselines.base import Allocator, Context
from ranksearch.searching.baselines.rules import one_price


def lc(context: Context) -> Choice:
    """Uses the errors in the tables; with the published candidates these are ½‖W − W_r‖²."""
    return one_price(context, [table.errors() for table in context.problem.tables])


LC = Allocator("lc", lc, CandidateConfig(decompositions=("svd",), error="plain"))
