"""`knapsack`: this project's own, the least sum of balanced errors, solved exactly; see `ranksearch.allocation`."""

from __future__ import annotations

from ranksearch import allocation
from ranksearch.baselines.base import Baseline, Context
from ranksearch.candidates import CandidateConfig
from ranksearch.walking import Choice


def knapsack(context: Context) -> Choice:
    """The analytic plan."""
    problem = context.problem
    return allocation.analytic(problem.tables, context.limit, context.metric, problem.dense)


KNAPSACK = Baseline("knapsack", knapsack, CandidateConfig())
