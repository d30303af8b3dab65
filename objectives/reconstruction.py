"""The analytic objective: the sum of ε over layers; the model is not run."""

from __future__ import annotations

from ranksearch.objectives.base import Objective, Report, Score, no_report
from ranksearch.planning import Plan


class Reconstruction(Objective):
    """The second-order estimate of the divergence that the candidates were fitted to."""

    name = "reconstruction"
    label = "ε"
    price = 0

    def score(self, plan: Plan, report: Report = no_report) -> Score:
        return Score(plan.error)
