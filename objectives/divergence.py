"""Held-out divergence of the compressed model's outputs from the dense model's."""

from __future__ import annotations

from ranksearch.objectives.base import Objective, Report, Score, no_report
from ranksearch.planning import Plan


class Divergence(Objective):
    """Builds the plan, re-estimates BatchNorm statistics if that helps, runs the held-out images once.

    Details: `blend`, the weight of the re-estimated statistics.
    """

    name = "divergence"
    label = "divergence"
    price = 10

    def score(self, plan: Plan, report: Report = no_report) -> Score:
        found = self.scoring.recalibrated(plan)
        return Score.of(found.divergence, blend=found.blend)
