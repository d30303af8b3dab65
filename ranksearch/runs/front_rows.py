"""The rows of a whole front: what every budget costs and is predicted to do, and what was delivered for some."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ranksearch.costs import Cost
from ranksearch.errors import InputError
from ranksearch.folders import PLAN_FILE
from ranksearch.planning import PlanRecord, Tables, TablesRecord, read_plan, whole_front

log = logging.getLogger(__name__)

MEASURED = ("validation", "validation_stderr", "test", "test_stderr")
"""Scores of delivered models: the task metric and its standard error."""


@dataclass(frozen=True)
class FrontRow:
    """A plan of the front, or one that was delivered.

    budget: what it costs in the front's metric, as a fraction of the dense model, or of the part that budgets count.
    error: the sum of ε. delivered: the budget that it was delivered for, as it was asked for. divergence, scores: of
    the delivered model.
    """

    budget: float
    cost: Cost
    error: float | None
    divergence: float | None = None
    delivered: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)


def front_rows(record: TablesRecord, tables: Tables, metric: str, folder: Path) -> list[FrontRow]:
    """The front over all budgets in a metric by rising cost, with the models that were delivered in a run folder."""
    rows = [
        FrontRow(tables.share(plan.cost, metric), plan.cost, plan.error)
        for plan in whole_front(tables, metric)
    ]
    for own in _delivered(folder, record):
        cost = Cost(**own.cost).only(tables.dense.amounts)
        scores = {name: found for name in MEASURED if (found := own.scores.get(name)) is not None}
        share, divergence = tables.share(cost, metric), own.scores.get("delivered")
        rows.append(FrontRow(share, cost, own.scores.get("error"), divergence, own.asked, scores))
    return sorted(rows, key=lambda row: row.budget)


def _delivered(folder: Path, record: TablesRecord) -> Iterator[PlanRecord]:
    """The plans of the compressed models in a run folder that are of the same model and cost metrics."""
    for pattern in (f"compressed/*/{PLAN_FILE}", f"plan-*-compressed/{PLAN_FILE}"):
        for path in sorted(folder.glob(pattern)):
            try:
                found = read_plan(path)
            except InputError as error:
                log.warning("%s It is left out of the front.", error)
                continue
            if found.model.digest == record.model.digest and found.cost.keys() >= record.dense.keys():
                yield found
