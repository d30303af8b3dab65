"""Held-out divergence of a plan applied as in full compression."""

from __future__ import annotations

from ranksearch.objectives.base import Objective, Report, Score, no_report
from ranksearch.planning import Plan


class Refitted(Objective):
    """Fits every layer thoroughly, independently and in order, and takes the better model, which would be delivered.

    The moments are those of all calibration images, as in full compression. Details: `blend`, the weight of the
    re-estimated BatchNorm statistics.
    """

    name = "refitted"
    label = "divergence as delivered"
    price = 30

    def score(self, plan: Plan, report: Report = no_report) -> Score:
        found = self.scoring.delivered(plan)
        return Score.of(found.divergence, blend=found.blend)
