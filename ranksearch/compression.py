"""Full compression: a plan carried out with all the calibration images, fine-tuned, ready to deliver."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from ranksearch.asymmetric import refit_asymmetric
from ranksearch.batchnorm import BLENDS, Recalibrated, recalibrate
from ranksearch.build import build, verify
from ranksearch.candidates import Effort
from ranksearch.costs import Cost, measure_cost
from ranksearch.errors import InputError, MismatchError, NonFiniteError, expected
from ranksearch.evaluate import Estimate, divergence, run
from ranksearch.features import block_names
from ranksearch.finetune import (
    MATCHING,
    FinetuneConfig,
    check_outputs,
    check_training,
    finetune,
    steps_per_epoch,
)
from ranksearch.interpolation import follow
from ranksearch.layers import Layer
from ranksearch.moments import Moments
from ranksearch.plan import Plan
from ranksearch.progress import Progress
from ranksearch.refitting import Fitted, calibration_moments, planned_layers, refit
from ranksearch.rounds import Round, rounds_of
from ranksearch.task import Role, Task

log = logging.getLogger(__name__)

_ONE_ROUND = "Without training one round does as well: --rounds 1."


@dataclass(frozen=True)
class CompressConfig:
    """How a plan is carried out.

    iterations: of each layer's refinement, as far as they cost no more than `fit_flops`. asymmetric: whether fits to
    the inputs that the compressed network really gives its layers compete. match_epochs: of feature matching on the
    moments images, before any fine-tuning, 0 for none. epochs: of fine-tuning, 0 for none. rounds: groups of layers
    that are factorised one after the other, the last ones first, with an equal part of that training after each; no
    more than the plan factorises layers. seed: of everything random.
    """

    iterations: int = 300
    fit_flops: float = 2e12
    asymmetric: bool = True
    match_epochs: int = 0
    matching: FinetuneConfig = MATCHING
    epochs: int = 0
    finetune: FinetuneConfig = field(default_factory=FinetuneConfig)
    rounds: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.rounds, int) or self.rounds < 1:
            raise InputError(expected("rounds", "a whole number, 1 or more", self.rounds))
        if self.rounds > 1 and not (self.epochs or self.match_epochs):
            raise InputError(expected("rounds", "epochs of training to share out", "--epochs 0", _ONE_ROUND))


@dataclass(frozen=True)
class Compressed:
    """A compressed model in evaluation mode.

    plan: as carried out, with the ε of the refitted layers. blend: weight of the re-estimated BatchNorm
    statistics. factorised, matched, finetuned: divergence from the dense model on the divergence images before any
    training, after feature matching and after fine-tuning (None without, or where it made things worse: the model
    is then the one before); of several rounds, in the last one. rounds: divergence at the end of each.
    """

    model: nn.Module
    plan: Plan
    cost: Cost
    blend: float
    factorised: Estimate
    matched: Estimate | None = None
    finetuned: Estimate | None = None
    rounds: tuple[Estimate, ...] = ()

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
    check_stages(task, config)
    stages = _stages(config)
    for stage in stages:
        if stage.epochs and not stage.steps(task):
            log.warning("%s: left out, since no training images are left for it", stage.name)
    if config.rounds > 1 and not any(stage.steps(task) for stage in stages):
        raise InputError(expected("rounds", "training images left for it between them", "none", _ONE_ROUND))
    held_out = task.inputs("divergence")
    dense_outputs = run(task.model, held_out, batch_size=task.batch_size, device=task.device)
    blocks = block_names(task.model, [name for name, c in plan.choices.items() if not c.is_dense])
    model, choices, ends = task.model, dict(plan.choices), list[Estimate]()
    for part in rounds_of(layers, plan, config.rounds):

        def told(stage: str, done: int, total: int, part: Round = part) -> None:
            progress(part.named(stage), done, total)

        # What an earlier round has trained has other moments, and other kernels, than the dense model.
        known = moments if part.number == 0 else None
        current = task if part.number == 0 else task.with_model(model)
        done = _factorised(current, layers, part.plan, known, config, dense_outputs, told)
        for stage in stages:
            steps = part.share(stage.steps(task))
            done = _trained(task, done, stage, steps, blocks, dense_outputs, config.seed + part.number, told)
        model, choices = done.model, choices | dict(done.plan.choices)
        ends.append(done.delivered)
        if part.count > 1:
            log.info("%s: divergence %.4g", part.named("compression"), done.delivered.mean)
            progress("rounds", part.number + 1, part.count)
    return replace(done, plan=Plan(choices, plan.cost), rounds=tuple(ends))


def _factorised(
    task: Task,
    layers: Sequence[Layer],
    plan: Plan,
    moments: Mapping[str, Moments] | None,
    config: CompressConfig,
    dense_outputs: Tensor,
    progress: Progress,
) -> Compressed:
    """The task's model with some layers factorised, before any training.

    Raises MismatchError where the model then costs something else than the plan says.
    """
    names = [name for name, c in plan.choices.items() if not c.is_dense]
    if moments is None:
        planned = [layer for layer in layers if layer.name in names]
        moments = calibration_moments(task, planned, seed=config.seed, progress=progress)
    models, refitted = fitted_models(task, layers, plan, moments, config, progress)
    verify(models[0], task.example, names)
    cost = measure_cost(models[0], task.example)
    if cost != plan.cost:
        raise MismatchError(expected("plan", f"the cost that it states, {plan.cost}", f"{cost} when built"))
    start = best_recalibrated(task, models, dense_outputs)
    return Compressed(start.model, refitted, cost, start.blend, start.divergence)


@dataclass(frozen=True)
class _Stage:
    """Training that a compressed model goes through; `result` is the field of `Compressed` that tells of it."""

    name: str
    role: Role
    epochs: int
    config: FinetuneConfig
    result: str

    def steps(self, task: Task) -> int:
        """Optimiser steps of all its epochs; none without images."""
        return self.epochs * steps_per_epoch(task, self.role)


def _stages(config: CompressConfig) -> tuple[_Stage, _Stage]:
    return (
        _Stage("feature matching", "moments", config.match_epochs, config.matching, "matched"),
        _Stage("fine-tuning", "finetune", config.epochs, config.finetune, "finetuned"),
    )


def check_stages(task: Task, config: CompressConfig) -> None:
    """Raises InputError where some training that is asked for cannot be had of the model or the data."""
    stages = [stage for stage in _stages(config) if stage.epochs]
    for stage in stages:
        check_training(task, stage.config, stage.role)
    if stages:
        check_outputs(task)


def _trained(
    task: Task,
    before: Compressed,
    stage: _Stage,
    steps: int,
    blocks: Sequence[str],
    dense_outputs: Tensor,
    seed: int,
    progress: Progress,
) -> Compressed:
    """The model after so many steps of a stage, or some of the way back to the one before, or that one itself:
    whichever is nearest to the dense model on the divergence images."""
    if not steps:
        return before
    try:
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
    except NonFiniteError as error:
        log.warning("%s: delivered without it. %s", stage.name, error)
        return before
    held_out = task.inputs("divergence")

    def score(each: nn.Module) -> Estimate:
        outputs = run(each, held_out, batch_size=task.batch_size, device=task.device)
        return divergence(dense_outputs, outputs, task.loss)

    followed = follow(before.model, model, score)
    after = followed.divergence
    if not after.mean <= before.delivered.mean:
        # A handful of steps at too high a rate can lose more than it gains.
        log.warning(
            "%s raised the divergence from %.4g to %.4g: delivered without it; try more epochs or a lower lr",
            stage.name,
            before.delivered.mean,
            after.mean,
        )
        return before
    if followed.way < 1.0:
        log.info("%s: %g of the way from the weights before it is nearest", stage.name, followed.way)
    changed: dict[str, Any] = {"model": followed.model, stage.result: after}
    return replace(before, **changed)


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
    them fitted in order to the inputs that compressed layers before them give, on the moments images alone: the
    divergence images, which favour the first if anything, tell whether that is the better one.
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
    return [task.laid_out(build(task.model, layers, refitted, fits)) for fits in competing], refitted


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
