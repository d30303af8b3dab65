"""Held-out divergence of a plan carried out as full compression does it."""

from __future__ import annotations

from ranksearch.objectives.base import Objective, Report, Score, no_report
from ranksearch.planning import Plan


class Refitted(Objective):
    """Fits every layer thoroughly, by itself and in order, and takes the better model: what would be delivered.

    The moments are those of all calibration images, as in full compression. Details: `blend`, the weight of the
    re-estimated BatchNorm statistics.
    """

    name = "refitted"
    label = "divergence as delivered"
    price = 30

    def score(self, plan: Plan, report: Report = no_report) -> Score:
        found = self.scoring.delivered(plan)
        return Score.of(found.divergence, blend=found.blend)
