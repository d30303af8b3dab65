"""Times of candidates, corrected by plans that were measured whole.

An allocation favours candidates whose times were measured too short: among many noisy prices it picks the low ones.
So a plan that is measured also tells what its candidates take within it, and before the next one is allocated, times of
the same form of layers of the same shape are corrected accordingly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import exp, log

import numpy as np

from ranksearch.costs import Cost, is_measured
from ranksearch.planning.network_tables import Tables
from ranksearch.planning.plan import Candidate, Plan, Table
from ranksearch.timing import Shape, nanoseconds, shape_of

Key = tuple[str, Shape, str, str]
"""A measured cost metric, the shape of a layer, a decomposition and its form."""

Pair = tuple[int, int]
"""The time that a table has for a candidate, and the one that the candidate took within a plan, in nanoseconds."""


@dataclass(frozen=True)
class Repricing:
    """What candidates took within plans."""

    pairs: Mapping[Key, tuple[Pair, ...]] = field(default_factory=dict)

    def knowing(
        self, tables: Iterable[Table], plan: Plan, metric: str, seconds: Mapping[str, float]
    ) -> Repricing:
        """With one more plan of these tables. seconds: of each layer within it, by name; some may be missing."""
        found = dict(self.pairs)
        for table in tables:
            candidate, taken = plan.choices[table.layer.name], seconds.get(table.layer.name, 0.0)
            if taken > 0 and not candidate.is_dense:
                key = _key(metric, table, candidate)
                found[key] = (*found.get(key, ()), (candidate.cost.of(metric), nanoseconds(taken)))
        return Repricing(found)

    def of(self, tables: Iterable[Table], flops: float = 0.0) -> tuple[Table, ...]:
        """The tables with corrected times: the same candidates in the same order.

        flops: how much the share of the dense layer's FLOPs counts in place of that of its time, from 0 to 1.
        """
        return tuple(
            replace(table, candidates=tuple(self.corrected(table, own, flops) for own in table.candidates))
            for table in tables
        )

    def cost(self, tables: Tables, plan: Plan, flops: float = 0.0) -> Cost:
        """The cost of a whole plan of the tables, with corrected times."""
        picked = (self.corrected(table, plan.choices[table.layer.name], flops) for table in tables.tables)
        return tables.cost(picked)

    def corrected(self, table: Table, candidate: Candidate, flops: float = 0.0) -> Candidate:
        """One candidate of a table with corrected times."""
        if candidate.is_dense:
            return candidate
        amounts = dict(candidate.cost.amounts)
        for metric, amount in candidate.cost.amounts.items():
            if is_measured(metric):
                factor = _factor(self.pairs.get(_key(metric, table, candidate), ()), amount)
                by_flops = table.dense.of(metric) * candidate.cost.flops / max(1, table.dense.flops)
                amounts[metric] = max(1, round((1 - flops) * factor * amount + flops * by_flops))
        return replace(candidate, cost=Cost(**amounts))


def _key(metric: str, table: Table, candidate: Candidate) -> Key:
    return metric, shape_of(table.layer), candidate.decomposition, candidate.form


def _factor(pairs: Iterable[Pair], predicted: int) -> float:
    """Taken over predicted time: the geometric mean of the pairs of one predicted time, interpolated between predicted
    times, and beyond them that of the nearest. Without pairs it is 1."""
    ratios: dict[int, list[float]] = defaultdict(list)
    for own, taken in pairs:
        ratios[own].append(log(taken / own))
    if not ratios:
        return 1.0
    known = sorted(ratios)
    return exp(float(np.interp(predicted, known, [float(np.mean(ratios[own])) for own in known])))
