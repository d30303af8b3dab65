"""Held-out divergence of a plan whose layers are fitted in order, quickly: an approximation of full compression."""

from __future__ import annotations

from typing import ClassVar

from ranksearch.compression import Fitted, Weights, refit_in_order
from ranksearch.networks import head
from ranksearch.objectives.base import Objective, Report, Score, no_report
from ranksearch.planning import Effort, Plan, build


class Ordered(Objective):
    """The quick fits of `divergence`, then a few more steps, each layer for the inputs that compressed layers give it.

    Fits in order correct errors of earlier layers, which independent fits cannot. A quarter of the moments images
    is enough for a score. Details: `blend`, the weight of the re-estimated BatchNorm statistics.
    """

    name = "ordered"
    label = "divergence fitted in order"
    price = 20

    images: ClassVar[int] = 256
    iterations: ClassVar[int] = 15

    def score(self, plan: Plan, report: Report = no_report) -> Score:
        scoring = self.scoring
        problem, task = scoring.problem, scoring.problem.task
        chosen = [table.layer for table in problem.tables if not plan.choices[table.layer.name].is_dense]
        weights: Weights = {
            layer.name: problem.fits.factors(layer, plan.choices[layer.name]) for layer in chosen
        }
        effort = Effort(iterations=self.iterations, fit_flops=problem.fits.config.fit_flops)
        images = head(task.inputs("moments"), self.images)
        if weights:
            ordered = refit_in_order(
                task, chosen, plan, weights, scoring.moments, effort, images, seed=scoring.seed
            )
            weights = ordered or weights
        found = scoring.settled(build(task.model, problem.layers, plan, Fitted(weights)))
        return Score.of(found.divergence, blend=found.blend)
