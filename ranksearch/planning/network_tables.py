"""What the plans of a network are chosen from: the tables of its layers, and what the dense model costs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ranksearch.costs import Cost, Part
from ranksearch.networks import Layer
from ranksearch.planning.plan import Candidate, Plan, Table
from ranksearch.timing import Times


@dataclass(frozen=True)
class Tables:
    """layers: in the order of the forward pass, including those that stay dense. dense: cost of the dense model.
    tables: one for each layer that can be factorised. times: what is known about the times of whole plans, where time
    is one of the cost metrics. part: what budgets count; None stands for the whole model.
    """

    layers: tuple[Layer, ...]
    dense: Cost
    tables: tuple[Table, ...]
    times: Times | None = None
    part: Part | None = None

    def plan(self, choice: Sequence[int]) -> Plan:
        """The plan that takes candidate `choice[k]` of table k."""
        picked = [table.candidates[k] for table, k in zip(self.tables, choice, strict=True)]
        return Plan({t.layer.name: c for t, c in zip(self.tables, picked, strict=True)}, self.cost(picked))

    def cost(self, picked: Iterable[Candidate]) -> Cost:
        """Cost of the whole model, one candidate per table: measured dense − layers + candidates."""
        total = self.dense
        for table, candidate in zip(self.tables, picked, strict=True):
            total = total - table.dense + candidate.cost
        return total

    def share(self, cost: Cost, metric: str) -> float:
        """How much of what budgets count a plan keeps: the fraction to ask for."""
        dense = self.dense.of(metric)
        rest = 0 if self.part is None else self.part.rest(metric, dense)
        return (cost.of(metric) - rest) / max(1, dense - rest)

    def only(self, decompositions: Collection[str]) -> Tables:
        """The tables without the candidates of other decompositions; dense layers remain."""
        return replace(
            self,
            tables=tuple(
                replace(
                    table,
                    candidates=tuple(
                        c for c in table.candidates if c.is_dense or c.decomposition in decompositions
                    ),
                )
                for table in self.tables
            ),
        )
