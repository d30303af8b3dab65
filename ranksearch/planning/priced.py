"""Candidates with their measured times: those that are slower than the dense layer are none."""

from __future__ import annotations

from dataclasses import replace

from ranksearch.costs import Cost
from ranksearch.planning.builder import chain_of
from ranksearch.planning.plan import Candidate, Table
from ranksearch.planning.tables import pareto
from ranksearch.timing import Prices, nanoseconds


def priced(table: Table, prices: Prices, metric: str) -> Table:
    """The table with an amount of a measured cost metric for every candidate.

    Candidates of forms that were not measured, and those that take longer than the dense layer, are left out, and then
    those that another one dominates in the error and all costs.
    """
    dense = nanoseconds(prices.of_layer(table.layer))
    found = []
    for candidate in table.candidates:
        if candidate.is_dense:
            found.append(_with(candidate, metric, dense))
            continue
        form = (candidate.decomposition, candidate.form)
        seconds = prices.of_chain(table.layer, form, chain_of(table.layer, candidate))
        if seconds is not None and nanoseconds(seconds) < dense:
            found.append(_with(candidate, metric, nanoseconds(seconds)))
    return replace(table, candidates=pareto(found))


def _with(candidate: Candidate, metric: str, amount: int) -> Candidate:
    return replace(candidate, cost=Cost(**candidate.cost.amounts, **{metric: amount}))
