"""Full compression: a plan carried out with all the calibration images, fine-tuned, ready to deliver."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from ranksearch import decompositions
from ranksearch.asymmetric import refit_asymmetric
from ranksearch.batchnorm import BLENDS, Recalibrated, recalibrate
from ranksearch.build import build, verify
from ranksearch.calibration import task_moments
from ranksearch.candidates import Effort, fit_candidate
from ranksearch.costs import Cost, measure_cost
from ranksearch.errors import MismatchError, expected
from ranksearch.evaluate import Estimate, divergence, run
from ranksearch.features import block_names
from ranksearch.finetune import MATCHING, FinetuneConfig, finetune, steps_per_epoch
from ranksearch.layers import Layer, discover
from ranksearch.metric import whiten
from ranksearch.modules import algebra_threads, fast_layout
from ranksearch.moments import Moments
from ranksearch.plan import Candidate, Plan
from ranksearch.task import Role, Task

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CompressConfig:
    """How a plan is carried out.

    iterations: of each layer's refinement, as far as they cost no more than `fit_flops`. asymmetric: whether fits to
    the inputs that the compressed network really gives its layers compete. match_epochs: of feature matching on the
    moments images, before any fine-tuning, 0 for none. epochs: of fine-tuning, 0 for none. seed: of everything random.
    """

    iterations: int = 300
    fit_flops: float = 2e12
    asymmetric: bool = True
    match_epochs: int = 0
    matching: FinetuneConfig = MATCHING
    epochs: int = 0
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    seed: int = 0


@dataclass(frozen=True)
class Compressed:
    """A compressed model in evaluation mode.

    plan: as carried out, with the ε of the refitted layers. blend: weight of the re-estimated BatchNorm
    statistics. factorised, matched, finetuned: divergence from the dense model on the divergence images before any
    training, after feature matching and after fine-tuning (None without, or where it made things worse: the model
    is then the one before).
    """

    model: nn.Module
    plan: Plan
    cost: Cost
    blend: float
    factorised: Estimate
    matched: Estimate | None = None
    finetuned: Estimate | None = None

    @property
    def delivered(self) -> Estimate:
        """The divergence of the model as it is."""
        return self.finetuned or self.matched or self.factorised


def compress(
    task: Task,
    plan: Plan,
    *,
    config: CompressConfig | None = None,
    moments: Mapping[str, Moments] | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> Compressed:
    """Factorise, re-estimate BatchNorm statistics, fine-tune by distillation from the dense model.

    `moments` of all calibration images, from `calibration_moments`, can be shared between plans of one task.
    Raises MismatchError where the plan names layers that the model does not have, or costs something else.
    """
    config = config or CompressConfig()
    layers = planned_layers(task, [plan])
    if moments is None:
        moments = calibration_moments(task, layers, seed=config.seed, progress=progress)
    models, refitted = fitted_models(task, layers, plan, moments, config, progress)
    verify(models[0], task.example, [name for name, c in plan.choices.items() if not c.is_dense])
    cost = measure_cost(models[0], task.example)
    if cost != plan.cost:
        raise MismatchError(expected("plan", f"the cost that it states, {plan.cost}", f"{cost} when built"))
    held_out = task.inputs("divergence")
    dense_outputs = run(task.model, held_out, batch_size=task.batch_size, device=task.device)
    start = best_recalibrated(task, models, dense_outputs)
    done = Compressed(start.model, refitted, cost, start.blend, start.divergence)
    blocks = block_names(task.model, [name for name, c in plan.choices.items() if not c.is_dense])
    for stage in (
        _Stage("feature matching", "moments", config.match_epochs, config.matching, "matched"),
        _Stage("fine-tuning", "finetune", config.epochs, config.finetune, "finetuned"),
    ):
        done = _trained(task, done, stage, blocks, dense_outputs, config.seed, progress)
    return done


@dataclass(frozen=True)
class _Stage:
    """Training that a compressed model goes through; `result` is the field of `Compressed` that tells of it."""

    name: str
    role: Role
    epochs: int
    config: FinetuneConfig
    result: str


def _trained(
    task: Task,
    before: Compressed,
    stage: _Stage,
    blocks: Sequence[str],
    dense_outputs: Tensor,
    seed: int,
    progress: Progress,
) -> Compressed:
    """The model after a stage, or the one before where that is nearer to the dense one on the divergence images."""
    steps = stage.epochs * steps_per_epoch(task, stage.role)
    if not steps:
        return before
    model = finetune(
        copy.deepcopy(before.model),
        task.model,
        task,
        steps=steps,
        seed=seed,
        config=stage.config,
        role=stage.role,
        blocks=blocks,
        on_step=lambda step, loss: progress(stage.name, step, steps),
    )
    held_out = task.inputs("divergence")
    outputs = run(model, held_out, batch_size=task.batch_size, device=task.device)
    after = divergence(dense_outputs, outputs, task.loss)
    if after.mean > before.delivered.mean:
        # A handful of steps at too high a rate can lose more than it gains.
        log.warning(
            "%s raised the divergence from %.4g to %.4g: delivered without it; try more epochs or a lower lr",
            stage.name,
            before.delivered.mean,
            after.mean,
        )
        return before
    return replace(before, model=model, **{stage.result: after})


def fitted_models(
    task: Task,
    layers: Sequence[Layer],
    plan: Plan,
    moments: Mapping[str, Moments],
    config: CompressConfig,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[list[nn.Module], Plan]:
    """The models of a plan that compete, and the plan with the ε that its layers reach, each by itself.

    One has every layer fitted by itself, on all calibration images. The other, where it can be had, has
    them fitted in order to the inputs that compressed layers before them give, on the moments images alone, so that
    the divergence images tell whether that is the better one.
    """
    effort = Effort(iterations=config.iterations, fit_flops=config.fit_flops)
    fitted, refitted = refit(task, layers, plan, moments, effort, progress)
    competing = [fitted]
    if config.asymmetric and fitted.weights:
        weights = refit_asymmetric(
            task,
            layers,
            refitted,
            fitted.weights,
            moments,
            effort,
            task.inputs("moments"),
            seed=config.seed,
            on_layer=lambda done, total: progress("refitting in order", done, total),
        )
        competing += [Fitted(weights)] if weights else []
    return [
        fast_layout(build(task.model, layers, refitted, fits)).to(task.device) for fits in competing
    ], refitted


def best_recalibrated(
    task: Task, models: Sequence[nn.Module], dense_outputs: Tensor, blends: Sequence[float] = BLENDS
) -> Recalibrated:
    """The model, and the BatchNorm statistics for it, with the least divergence on the held-out images.

    Statistics are re-estimated on all calibration images, and blended as given; the models are changed in place.
    dense_outputs: (M, …), of the dense model on the divergence images.
    """
    calibration = torch.cat([task.inputs("moments"), task.inputs("divergence")])
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
        )
        for model in models
    ]
    return min(found, key=lambda each: each.divergence.mean)


def planned_layers(task: Task, plans: Iterable[Plan]) -> tuple[Layer, ...]:
    """The model's layers that some plan factorises. Raises MismatchError where one is missing or has to stay dense."""
    known = {layer.name: layer for layer in discover(task.model, task.example)}
    names = {name for plan in plans for name, candidate in plan.choices.items() if not candidate.is_dense}
    for name in sorted(names):
        if name not in known:
            raise MismatchError(expected(f"layer {name}", "a layer of the model", "none of that name"))
        if (reason := known[name].reason) is not None:
            raise MismatchError(expected(f"layer {name}", "one that can be factorised", reason))
    return tuple(layer for name, layer in known.items() if name in names)


def calibration_moments(
    task: Task,
    layers: Sequence[Layer],
    *,
    seed: int = 0,
    progress: Progress = lambda stage, done, total: None,
) -> dict[str, Moments]:
    """Moments of all calibration images, those for the divergence included."""
    stage = "moments of all calibration images"
    return task_moments(
        task,
        layers,
        ("moments", "divergence"),
        seed=seed,
        on_batch=lambda done, total: progress(stage, done, total),
    )


@dataclass(frozen=True)
class Fitted:
    """Weights of a plan's chains, by layer name."""

    weights: Mapping[str, tuple[Tensor, ...]]

    def factors(self, layer: Layer, candidate: Candidate) -> tuple[Tensor, ...]:
        return self.weights[layer.name]


def refit(
    task: Task,
    layers: Sequence[Layer],
    plan: Plan,
    moments: Mapping[str, Moments],
    effort: Effort,
    progress: Progress = lambda stage, done, total: None,
) -> tuple[Fitted, Plan]:
    """Fit each chain of a plan afresh, thoroughly; the weights, and the plan with the ε that they reach."""
    chosen = [layer for layer in layers if not plan.choices.get(layer.name, _DENSE).is_dense]
    weights: dict[str, tuple[Tensor, ...]] = {}
    choices = dict(plan.choices)
    for done, layer in enumerate(chosen):
        progress("refitting", done, len(chosen))
        candidate = choices[layer.name]
        decomposition = decompositions.get(candidate.decomposition)
        kernel = task.model.get_parameter(f"{layer.name}.weight").detach().to(task.device)
        form, ranks = candidate.form, candidate.ranks
        with algebra_threads(layer.fan_in):
            whitened = whiten(kernel, *moments[layer.name].shrunk())
            fit = fit_candidate(whitened, layer, decomposition, form, ranks, config=effort)
        weights[layer.name] = fit.weights(whitened)
        choices[layer.name] = replace(candidate, error=fit.error)
    progress("refitting", len(chosen), len(chosen))
    return Fitted(weights), Plan(choices, plan.cost)


_DENSE = Candidate("dense", "", (), Cost(0, 0), 0.0)
