"""`knapsack`: this project's own, the least sum of balanced errors, solved exactly; see `ranksearch.planning`."""

from __future__ import annotations

from ranksearch.planning import CandidateConfig, Choice, analytic
from ranksearch.searching.baselines.base import Allocator, Context


def allocate(context: Context) -> Choice:
    """The analytic plan."""
    problem = context.problem
    return analytic(problem.tables, context.budget)


KNAPSACK = Allocator("knapsack", allocate, CandidateConfig(), weighs=True)
