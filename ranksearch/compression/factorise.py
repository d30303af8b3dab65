"""The competing models for a plan, before any training, and the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from ranksearch.calibration import Moments
from ranksearch.compression.batchnorm import BLENDS, Recalibrated, recalibrate
from ranksearch.compression.config import CompressConfig
from ranksearch.compression.in_order import refit_in_order
from ranksearch.compression.refit import Fitted, refit
from ranksearch.networks import Layer, cat
from ranksearch.planning import Effort, Plan, build
from ranksearch.progress import Progress, no_progress, ticks
from ranksearch.tasks import Task


def fitted_models(
    task: Task,
    layers: Sequence[Layer],
    plan: Plan,
    moments: Mapping[str, Moments],
    config: CompressConfig,
    progress: Progress = no_progress,
) -> tuple[list[nn.Module], Plan]:
    """The competing models of a plan, and the plan with the ε that its layers reach in independent fits.

    In one model every layer is fitted independently, on all calibration images. In the other, if it exists, the layers
    are fitted in order to the inputs that the compressed layers before them give, on the moments images only. The
    divergence images, which favour the first model if any, decide which one is better.
    """
    effort = Effort(iterations=config.iterations, fit_flops=config.fit_flops)
    fitted, refitted = refit(task, layers, plan, moments, effort, progress)
    competing = [fitted]
    if config.in_order and fitted.weights:
        weights = refit_in_order(
            task,
            layers,
            refitted,
            fitted.weights,
            moments,
            effort,
            task.inputs("moments"),
            seed=config.seed,
            on_layer=ticks(progress, "refitting in order"),
        )
        competing += [Fitted(weights)] if weights else []
    return [task.laid_out(build(task.model, layers, refitted, fits)) for fits in competing], refitted


def best_recalibrated(
    task: Task, models: Sequence[nn.Module], dense_outputs: Tensor, blends: Sequence[float] = BLENDS
) -> Recalibrated:
    """The model, and the BatchNorm statistics for it, with the least divergence on the held-out images.

    Statistics are re-estimated on all calibration images, and blended as given; the models are changed in place.
    dense_outputs: (M, …), of the dense model on the divergence images.
    """
    calibration = cat([task.inputs("moments"), task.inputs("divergence")])
    held_out = task.inputs("divergence")
    found = [
        recalibrate(
            model,
            calibration,
            held_out,
            dense_outputs,
            task.loss,
            batch_size=task.batch_size,
            device=task.device,
            blends=blends,
            output=task.output,
        )
        for model in models
    ]
    return min(found, key=lambda each: each.divergence.mean)
