"""The data for objectives: the held-out images, the dense model's outputs on them, BatchNorm images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from ranksearch.calibration import Moments, calibration_moments
from ranksearch.compression import CompressConfig, Recalibrated, best_recalibrated, fitted_models, recalibrate
from ranksearch.networks import Batch, head
from ranksearch.planning import Plan, Problem
from ranksearch.tasks import Estimate, divergence


@dataclass(frozen=True)
class Scoring:
    """A problem and how plans are measured on it; the dense model runs once, however many plans are scored.

    `finetune_steps`, `finetune_lr` and `seed` are for objectives that train; `statistics_size` is the number
    of moments images on which BatchNorm statistics are re-estimated.
    """

    problem: Problem
    finetune_steps: int = 60
    finetune_lr: float = 5e-4
    seed: int = 0
    statistics_size: int = 512

    @cached_property
    def held_out(self) -> Batch:
        """The divergence images, N of them; the moments come from others."""
        return self.problem.task.inputs("divergence")

    @cached_property
    def moments(self) -> Mapping[str, Moments]:
        """Moments of all calibration images, for the fits that would be delivered."""
        problem = self.problem
        used = [table.layer for table in problem.tables if not table.unused]
        return calibration_moments(problem.task, used, seed=self.seed)

    @cached_property
    def dense_outputs(self) -> Tensor:
        """The dense model's outputs on `held_out`, (N, …)."""
        task = self.problem.task
        return task.outputs(task.model, self.held_out)

    def divergence(self, model: nn.Module) -> Estimate:
        """Held-out divergence of a model from the dense one."""
        task = self.problem.task
        outputs = task.outputs(model, self.held_out)
        return divergence(self.dense_outputs, outputs, task.loss)

    def recalibrated(self, plan: Plan) -> Recalibrated:
        """The plan with its quick fits, the BatchNorm statistics chosen for it, and its held-out divergence."""
        return self.settled(self.problem.build(plan))

    def delivered(self, plan: Plan) -> Recalibrated:
        """The plan as applied by full compression, before any training, and its held-out divergence.

        Layers are fitted thoroughly, independently and in order, and the better model is taken.
        """
        task, layers = self.problem.task, self.problem.layers
        models, _ = fitted_models(task, layers, plan, self.moments, CompressConfig(seed=self.seed))
        return best_recalibrated(task, models, self.dense_outputs)

    def settled(self, model: nn.Module) -> Recalibrated:
        """A compressed model with the BatchNorm statistics chosen for it, in place, and its held-out divergence."""
        task = self.problem.task
        return recalibrate(
            task.laid_out(model),
            head(task.inputs("moments"), self.statistics_size),
            self.held_out,
            self.dense_outputs,
            task.loss,
            batch_size=task.batch_size,
            device=task.device,
            output=task.output,
        )
