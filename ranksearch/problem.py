"""The prepared problem: everything that calibration yields and that searching and compressing start from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ranksearch.build import build
from ranksearch.candidates import Fits
from ranksearch.costs import Cost
from ranksearch.layers import Layer
from ranksearch.plan import Candidate, Plan, Table
from ranksearch.task import Task


@dataclass(frozen=True)
class Problem:
    """A task with its layers, the dense model's cost, and one table of candidates per factorisable layer."""

    task: Task
    layers: tuple[Layer, ...]
    dense: Cost
    tables: tuple[Table, ...]
    fits: Fits

    def plan(self, choice: Sequence[int]) -> Plan:
        """The plan that takes candidate `choice[k]` of table k."""
        picked = {t.layer.name: t.candidates[i] for t, i in zip(self.tables, choice, strict=True)}
        return Plan(picked, self.cost(picked.values()))

    def cost(self, picked: Sequence[Candidate]) -> Cost:
        """Cost of the whole model: measured dense − layers + candidates."""
        total = self.dense
        for table, candidate in zip(self.tables, picked, strict=True):
            total = total - table.layer.cost + candidate.cost
        return total

    def build(self, plan: Plan) -> nn.Module:
        """A compressed copy of the task's model; BatchNorm statistics are still the dense model's."""
        return build(self.task.model, self.layers, plan, self.fits)
