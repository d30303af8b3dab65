"""Held-out divergence after a short fine-tune by distillation from the dense model."""

from __future__ import annotations

from torch import nn

from ranksearch.compression.training import FinetuneConfig, finetune
from ranksearch.errors import NonFiniteError
from ranksearch.objectives.base import Objective, Report, Score, no_report
from ranksearch.planning import Plan
from ranksearch.tasks import Estimate


def geometric_steps(steps: int) -> tuple[int, ...]:
    """The steps at which a run of `steps` steps reports: the last one, half of it, a quarter, … to about a tenth."""
    points = {steps >> halving for halving in range(4)}
    return tuple(sorted(points - {0}))


class Finetune(Objective):
    """Applies the plan as full compression does, then trains for `Scoring.finetune_steps` steps.

    Starting from quick fits, the same steps would say little about the final quality of a plan: they would repair
    errors that better fits do not have. Held-out divergence is reported before the first step (as step 0) and at
    geometric steps. A run whose loss stops being finite scores infinity. Details: `before`, the divergence at step
    0, `blend`, and `steps`.
    """

    name = "finetune"
    label = "divergence after fine-tuning"
    price = 40

    @property
    def steps(self) -> int:
        return self.scoring.finetune_steps

    def score(self, plan: Plan, report: Report = no_report) -> Score:
        scoring = self.scoring
        start = scoring.delivered(plan)
        found = start.divergence
        report(0, found.mean)

        def on_checkpoint(step: int, model: nn.Module) -> None:
            nonlocal found
            found = scoring.divergence(model)
            report(step, found.mean)

        steps = self.steps
        task = scoring.problem.task
        try:
            finetune(
                start.model,
                task.model,
                task,
                steps=steps,
                seed=scoring.seed,
                config=FinetuneConfig(lr=scoring.finetune_lr),
                checkpoints=geometric_steps(steps),
                on_checkpoint=on_checkpoint,
            )
        except NonFiniteError:
            found = Estimate(float("inf"), float("inf"), found.count)
        return Score.of(found, before=start.divergence.mean, blend=start.blend, steps=steps)
