"""Full compression: a plan is applied with all the calibration images and fine-tuned, ready to deliver."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ranksearch.cache import digest
from ranksearch.calibration import Moments, calibration_moments, task_digest
from ranksearch.compression.config import _ONE_ROUND, CompressConfig
from ranksearch.compression.factorise import best_recalibrated, fitted_models
from ranksearch.compression.refit import fitted_layers, planned_layers
from ranksearch.compression.rounds import rounds_of
from ranksearch.compression.training import (
    FinetuneConfig,
    KeptTraining,
    block_names,
    check_outputs,
    check_training,
    finetune,
    follow,
    steps_per_epoch,
)
from ranksearch.costs import COSTS, Cost, computed, measure_cost
from ranksearch.errors import InputError, MismatchError, NonFiniteError, expected
from ranksearch.glance import AtAGlance
from ranksearch.keywords import checks_keywords
from ranksearch.networks import Layer, copy_model, discover, draws_alone
from ranksearch.planning import Plan, verify
from ranksearch.progress import Losses, Progress, no_losses, no_progress, renamed
from ranksearch.tasks import Estimate, Role, Task, divergence

log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Compressed(AtAGlance):
    """A compressed model in evaluation mode; called as it is, it answers as `model` does.

    plan: with the ε of the refitted layers. blend: weight of the re-estimated BatchNorm
    statistics. factorised, matched, finetuned: divergence from the dense model on the divergence images before any
    training, after feature matching and after fine-tuning (None without, or if it made things worse: the model is then
    that from before); with several rounds, those of the last one. rounds: divergence at the end of each.
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
        """The divergence of the final model."""
        return self.finetuned or self.matched or self.factorised

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.model(*args, **kwargs)

    def glance(self) -> dict[str, str]:
        stages = {"factorised": self.factorised, "matched": self.matched, "fine-tuned": self.finetuned}
        told = [f"{found.mean:.4g} {name}" for name, found in stages.items() if found is not None]
        return {
            "model": f"{type(self.model).__name__}, in .model",
            **{name: text for name, text in self.plan.glance().items() if name != "error"},
            "divergence": f"{', '.join(told)}, from the dense model, in units of the loss",
        }


@checks_keywords
@draws_alone
def compress(
    task: Task,
    plan: Plan,
    *,
    config: CompressConfig | None = None,
    moments: Mapping[str, Moments] | None = None,
    layers: Sequence[Layer] | None = None,
    progress: Progress = no_progress,
    on_loss: Losses = no_losses,
    kept: Path | None = None,
) -> Compressed:
    """Factorise, re-estimate BatchNorm statistics, fine-tune by distillation from the dense model.

    `moments` of all calibration images, from `calibration_moments`, can be shared between plans of a task, and so can
    `layers`, all the layers of its model. `on_loss` hears of every step of training. `kept` is a folder
    where a long training is kept after each epoch: the same call goes on from there. Raises MismatchError if the plan
    names layers that the model does not have, or if its cost differs.
    """
    config = config or CompressConfig()
    layers = planned_layers(
        discover(task.model, task.example, output=task.output) if layers is None else layers, [plan]
    )
    check_stages(task, config)
    stages = _stages(config)
    for stage in stages:
        if stage.epochs and not stage.steps(task):
            log.warning("%s: skipped, since there are no training images for it", stage.name)
    if config.rounds > 1 and not any(stage.steps(task) for stage in stages):
        raise InputError(
            expected("rounds", "training images for the epochs between them", "none", _ONE_ROUND)
        )
    held_out = task.inputs("divergence")
    dense_outputs = task.outputs(task.model, held_out)
    blocks = block_names(task.model, [name for name, c in plan.choices.items() if not c.is_dense])
    model, choices, ends = task.model, dict(plan.choices), list[Estimate]()
    for part in rounds_of(layers, plan, config.rounds):
        told = renamed(progress, part.named("{}"))
        # After training in an earlier round, moments and kernels differ from those of the dense model.
        known = moments if part.number == 0 else None
        current = task if part.number == 0 else task.with_model(model)
        done = _factorised(current, layers, part.plan, known, config, dense_outputs, told)
        for stage in stages:
            steps = part.share(stage.steps(task))
            seed = config.seed + part.number
            heard = _renamed_losses(on_loss, part.named(stage.name))
            place = None if kept is None else kept / f"{stage.result}-{part.number}.pt"
            done = _trained(task, done, stage, steps, blocks, dense_outputs, seed, told, heard, place)
        model, choices = done.model, choices | dict(done.plan.choices)
        ends.append(done.delivered)
        if part.count > 1:
            log.info("%s: divergence %.4g", part.named("compression"), done.delivered.mean)
            progress("rounds", part.number + 1, part.count)
    return replace(done, plan=Plan(choices, plan.cost), rounds=tuple(ends))


def _renamed_losses(on_loss: Losses, stage: str) -> Callable[[int, float], None]:
    return lambda step, value: on_loss(stage, step, value)


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

    Raises MismatchError if the cost of the result differs from that of the plan.
    """
    names = [name for name, c in plan.choices.items() if not c.is_dense]
    if moments is None:
        planned = fitted_layers(layers, [plan])
        moments = calibration_moments(task, planned, seed=config.seed, progress=progress)
    models, refitted = fitted_models(task, layers, plan, moments, config, progress)
    verify(models[0], task.example, names)
    metrics = computed(tuple(plan.cost.amounts))
    cost = measure_cost(models[0], task.example, metrics)
    exact = [name for name in metrics if COSTS.get(name).exact]
    if any(cost.of(name) != plan.cost.of(name) for name in exact):
        raise MismatchError(expected("plan", f"the cost that it states, {plan.cost}", f"{cost} when built"))
    start = best_recalibrated(task, models, dense_outputs)
    return Compressed(start.model, refitted, cost, start.blend, start.divergence)


@dataclass(frozen=True)
class _Stage:
    """A stage of training; `result` is the field of `Compressed` with its divergence."""

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
    """Raises InputError if the model or the data do not allow the requested training."""
    stages = [stage for stage in _stages(config) if stage.epochs]
    for stage in stages:
        check_training(task, stage.config, stage.role)
    if stages:
        check_outputs(task, [stage.role for stage in stages])


def _key(task: Task, model: nn.Module, stage: _Stage, steps: int, seed: int) -> str:
    """What the result of a training depends on."""
    return digest(torch.__version__, task_digest(task), model.state_dict(), repr(stage), steps, seed)


def _trained(
    task: Task,
    before: Compressed,
    stage: _Stage,
    steps: int,
    blocks: Sequence[str],
    dense_outputs: Tensor,
    seed: int,
    progress: Progress,
    on_loss: Callable[[int, float], None],
    place: Path | None,
) -> Compressed:
    """The model after `steps` steps of a stage, a point on the way back to the one before, or that one itself:
    whichever is closest to the dense model on the divergence images."""
    if not steps:
        return before

    def on_step(step: int, loss: float) -> None:
        progress(stage.name, step, steps)
        on_loss(step, loss)

    try:
        model = finetune(
            copy_model(before.model),
            task.model,
            task,
            steps=steps,
            seed=seed,
            config=stage.config,
            role=stage.role,
            blocks=blocks,
            on_step=on_step,
            kept=None if place is None else KeptTraining(place, _key(task, before.model, stage, steps, seed)),
        )
    except NonFiniteError as error:
        log.warning("%s: delivered without it. %s", stage.name, error)
        return before
    held_out = task.inputs("divergence")

    def score(each: nn.Module) -> Estimate:
        outputs = task.outputs(each, held_out)
        return divergence(dense_outputs, outputs, task.loss)

    followed = follow(before.model, model, score)
    after = followed.divergence
    if not after.mean <= before.delivered.mean:
        # A few steps at too high a learning rate can lose more than they gain.
        log.warning(
            "%s raised the divergence from %.4g to %.4g: delivered without it. Try more epochs or a lower `lr`",
            stage.name,
            before.delivered.mean,
            after.mean,
        )
        return before
    if followed.way < 1.0:
        log.info(
            "%s: only %g of the way from the weights before it, which is closest to the dense model",
            stage.name,
            followed.way,
        )
    changed: dict[str, Any] = {"model": followed.model, stage.result: after}
    return replace(before, **changed)
