"""Ranks in multiples that hardware likes, where that costs next to nothing.

CPUs and GPUs compute in blocks of channels: a layer of 13 channels takes as long as one of 16.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from ranksearch.costs import Budget
from ranksearch.errors import BudgetError
from ranksearch.planning.allocation import analytic
from ranksearch.planning.network_tables import Tables
from ranksearch.planning.plan import Table

PREFERRED = (8, 4)
"""Multiples, the best first. Most of the gain on CPUs with vectors of 8 or 16 numbers comes with 8."""

SLACK = 1.05
"""The predicted error that a multiple may cost, over that of free ranks. Predictions are less exact than that."""

T = TypeVar("T", bound=Tables)

log = logging.getLogger(__name__)


def preferred(rank_multiple: object) -> tuple[int, ...]:
    """Multiples for ranks that nobody has said anything about: none where somebody has."""
    return () if rank_multiple else PREFERRED


def aligned(tables: T, budget: Budget, multiples: Sequence[int]) -> T:
    """The tables without candidates whose ranks are not multiples of the first of some numbers that costs next to
    nothing within a budget; all of them where each costs more, and for budgets of time, which tell by themselves.
    """
    if budget.measured or not multiples:
        return tables
    free = _error(tables.tables, budget)
    for multiple in multiples:
        own = tuple(_in_multiples(table, multiple) for table in tables.tables)
        try:
            error = _error(own, budget)
        except BudgetError:
            continue
        if error <= SLACK * free:
            log.info(
                "%s: ranks are multiples of %d; predicted error %.4g, %.4g with free ranks",
                budget.name,
                multiple,
                error,
                free,
            )
            return replace(tables, tables=own)
    return tables


def _error(tables: Sequence[Table], budget: Budget) -> float:
    choice = analytic(tables, budget)
    return sum(table.weight * table.candidates[k].error for table, k in zip(tables, choice, strict=True))


def _in_multiples(table: Table, multiple: int) -> Table:
    # What loses nothing stays, whatever its ranks are: the dense layer, or any rank of a kernel of zeros.
    kept = tuple(c for c in table.candidates if not c.error or all(rank % multiple == 0 for rank in c.ranks))
    return replace(table, candidates=kept)
