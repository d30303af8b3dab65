"""Training of a compressed model by distillation from the dense one, on outputs (Hinton et al. 2015) and features.

Fine-tuning uses the training images. Matching uses only the moments images, unlabelled. As these are few, the loss
includes features, which contain more information about an image than its outputs, and images are augmented.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, cast

import torch
from torch import Tensor, nn

from ranksearch.compression.training.augmentation import Augmenter
from ranksearch.compression.training.features import distance, recorded
from ranksearch.compression.training.kept import KeptTraining, generators, restore_generators
from ranksearch.errors import InputError, NonFiniteError, blaming, expected, told
from ranksearch.networks import (
    Batch,
    backward,
    call,
    cat,
    copy_model,
    forward,
    one_tensor,
    outputs_of,
    run_once,
    seeded,
    to,
    usual_path,
)
from ranksearch.tasks import Role, Task, check_targets


@dataclass(frozen=True)
class FinetuneConfig:
    """How to train.

    label_weight: weight of the task's own loss; 0 only distils and needs no labels. feature_weight: weight of the mean
    relative squared distance of the blocks' features, in addition to the outputs. augment: whether images are
    mirrored and shifted at random (`augmentation`). warmup: fraction of the steps over which the learning rate rises.
    """

    lr: float = 5e-4
    weight_decay: float = 1e-4
    temperature: float = 4.0
    label_weight: float = 0.0
    feature_weight: float = 0.0
    augment: bool = False
    warmup: float = 0.05


_UNTRAINED = "train nothing: `epochs=0` and `match_epochs=0`."

MATCHING = FinetuneConfig(lr=5e-4, weight_decay=0.0, feature_weight=3.0, augment=True)
"""For few images: distils on the features of blocks as well, with augmentation."""


def steps_per_epoch(task: Task, role: Role = "finetune") -> int:
    """Optimiser steps of one pass over the images of a role."""
    dataset = task.dataset(role)
    if dataset is None:
        return 0
    n = len(cast(Sized, dataset))
    return n // task.batch_size if n >= task.batch_size else 1


def check_training(task: Task, config: FinetuneConfig, role: Role = "finetune") -> None:
    """Raises InputError if labels are needed and the images of a role have none, or if the weights are in half
    precision, in which small steps are lost to rounding."""
    if any(p.dtype is torch.float16 for p in task.model.parameters()):
        way_out = f"Hand the model in as float32, or {_UNTRAINED}"
        raise InputError(expected("training", "weights in float32 or bfloat16", "float16", way_out))
    if config.label_weight and (first := task.first(role)) is not None and first[1] is None:
        what = f"`label_weight={config.label_weight:g}`"
        raise InputError(expected(what, "training images with labels", "none", "Use `label_weight=0`."))
    if config.label_weight:
        check_targets(task, role)


def check_outputs(task: Task, roles: Sequence[Role] = ()) -> None:
    """Raises InputError where the model does not run, does not return a tensor, or has no gradients, in training mode,
    on batches as those of the roles are."""
    model, example = copy_model(task.model).to(task.device), to(task.example, task.device)
    run_once(model.eval(), example, task.output)  # what goes wrong here has nothing to do with training
    datasets = [dataset for role in roles if (dataset := task.dataset(role)) is not None]
    alone = min([task.batch_size, *(len(cast(Sized, dataset)) for dataset in datasets)]) < 2
    several = example if alone else cat([example, example])  # BatchNorm refuses to train on one
    wanted = "a model that runs on its inputs in training mode too, forward and backward"
    try:
        with _thawed(model), torch.enable_grad(), seeded(task.seed, task.device):
            found = _first(model.train(), several, task)
            if found.requires_grad:
                backward(found.sum())
    except InputError as error:
        if error.__cause__ is None:
            raise
        raise InputError(expected("training", wanted, told(error), _UNTRAINED.capitalize())) from error


def finetune(
    model: nn.Module,
    dense: nn.Module,
    task: Task,
    *,
    steps: int,
    seed: int,
    config: FinetuneConfig | None = None,
    role: Role = "finetune",
    blocks: Sequence[str] = (),
    checkpoints: Sequence[int] = (),
    on_checkpoint: Callable[[int, nn.Module], None] = lambda step, model: None,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
    kept: KeptTraining | None = None,
) -> nn.Module:
    """Train `model` in place for `steps` steps on the images of a role and return it in evaluation mode.

    `blocks` are the modules, of `model` and of `dense` alike, whose outputs are the features.
    The learning rate warms up linearly, then follows a half cosine to zero. `on_checkpoint(step, model)` is
    called after the steps named in `checkpoints`, with the model in evaluation mode; what it raises ends the
    training. `on_step(step, loss)` is called after each step. `kept` is where the state is kept after whole epochs, and
    found again. `seed` determines all random numbers, including
    the model's own, such as dropout. If the whole model is frozen, all of it is trained and frozen again afterwards.
    """
    config = config or FinetuneConfig()
    if steps <= 0:
        return model.eval()
    if task.dataset(role) is None:
        raise InputError(expected("fine-tuning", "training images for it", "none", "Use `epochs=0`."))
    check_training(task, config, role)
    with _thawed(model) as parameters, seeded(seed, task.device):
        optimiser = torch.optim.AdamW(parameters, lr=config.lr, weight_decay=config.weight_decay)
        warmup = max(1, round(config.warmup * steps))
        schedule = torch.optim.lr_scheduler.SequentialLR(
            optimiser,
            [
                torch.optim.lr_scheduler.LinearLR(optimiser, 1 / warmup, 1.0, total_iters=warmup),
                torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps - warmup)),
            ],
            milestones=[warmup],
        )
        wanted, epoch = set(checkpoints), steps_per_epoch(task, role)
        teacher = task.laid_out(copy_model(dense)).eval()
        change = Augmenter(task.example if config.augment else None, seed)
        training = _Training(model, optimiser, schedule, change, task.device)
        done = kept.restore(training.put_back) if kept else 0
        batches = _endless(task, role, seed, done // epoch, labelled=bool(config.label_weight))
        for step, (inputs, targets) in zip(range(done + 1, steps + 1), batches, strict=False):
            model.train()
            seen = change(inputs)
            loss = _distillation(model, teacher, blocks, seen, targets, task, config)
            if not torch.isfinite(loss):
                _check_teacher(teacher, seen, task)
                raise NonFiniteError(
                    expected(
                        f"fine-tuning loss at step {step}",
                        "a finite number",
                        loss.item(),
                        "Lower the learning rate.",
                    )
                )
            optimiser.zero_grad(set_to_none=True)
            backward(loss)
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            on_step(step, loss.item())
            if step in wanted:
                on_checkpoint(step, model.eval())
            if kept and (step % epoch == 0 or step == steps):
                kept.keep(partial(training.state, step))
    return model.eval()


@dataclass(frozen=True)
class _Training:
    """Whatever changes from step to step."""

    model: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    change: Augmenter
    device: torch.device

    def state(self, step: int) -> dict[str, Any]:
        """All of it after so many steps."""
        return {
            "step": step,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "augmentation": self.change.state,
            "generators": generators(self.device),
        }

    def put_back(self, state: dict[str, Any]) -> int:
        """Go on from a state; the steps that were done. Raises what is wrong with it, and has then changed nothing."""
        before = copy.deepcopy(self.state(0))
        try:
            return self._load(state)
        except Exception:
            self._load(before)
            raise

    def _load(self, state: dict[str, Any]) -> int:
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.change.state = state["augmentation"]
        restore_generators(state["generators"], self.device)
        return int(state["step"])


@contextmanager
def _thawed(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """The parameters to train: those that are not frozen or, if all are, all of them, temporarily unfrozen.

    Embeddings with sparse gradients, which AdamW does not take, give dense ones meanwhile.
    """
    wanted = [p for p in model.parameters() if p.requires_grad]
    frozen = [] if wanted else [p for p in model.parameters() if p.is_floating_point()]
    for parameter in frozen:
        parameter.requires_grad_(True)
    sparse = [module for module in model.modules() if isinstance(module, nn.Embedding) and module.sparse]
    for module in sparse:
        module.sparse = False
    try:
        yield wanted or frozen
    finally:
        for module in sparse:
            module.sparse = True
        for parameter in frozen:
            parameter.requires_grad_(False)
            parameter.grad = None


def _endless(
    task: Task, role: Role, seed: int, first: int, *, labelled: bool
) -> Iterator[tuple[Batch, Tensor | None]]:
    """An endless sequence of epochs, from the first on, each in its own random order."""
    for epoch in count(first):
        yield from task.batches(role, shuffle_seed=seed * 10_007 + epoch, labelled=labelled)


def _check_teacher(teacher: nn.Module, inputs: Batch, task: Task) -> None:
    """Raises NonFiniteError where it is the dense model that gives NaN or infinity."""
    with torch.no_grad():
        outputs = forward(teacher, inputs, task.output)
    if not bool(torch.isfinite(outputs).all()):
        wanted = "images for which the dense model gives finite outputs"
        way_out = "Leave images with NaN or infinity out."
        raise NonFiniteError(expected("training", wanted, "NaN or infinity", way_out))


def _distillation(
    model: nn.Module,
    teacher: nn.Module,
    blocks: Sequence[str],
    inputs: Batch,
    targets: Tensor | None,
    task: Task,
    config: FinetuneConfig,
) -> Tensor:
    names = blocks if config.feature_weight else ()
    with torch.no_grad(), recorded(teacher, names) as wanted_features:
        wanted = forward(teacher, inputs, task.output)
    with recorded(model, names) as features:
        outputs = _first(model, inputs, task)
    with blaming(f"loss {task.loss.name}", "one that takes the model's outputs and the targets"):
        loss = task.loss.divergence(wanted, outputs, config.temperature).mean() * config.temperature**2
        if config.label_weight and targets is not None:
            labels = task.loss.value(outputs, targets).mean()
            loss = (1 - config.label_weight) * loss + config.label_weight * labels
    if names:
        loss = loss + config.feature_weight * distance(wanted_features, features)
    return loss


def _first(model: nn.Module, inputs: Batch, task: Task) -> Tensor:
    """The outputs; in training some models hand out those of auxiliary classifiers behind them."""
    returned = call(model, inputs)
    if task.reading.output is one_tensor:
        if isinstance(returned, tuple) and returned and isinstance(returned[0], Tensor):
            returned = returned[0]
        if usual_path(returned) is None:
            wanted = "a model that returns in training what it returns in evaluation, a tensor"
            raise InputError(expected("training", wanted, type(returned).__name__, _UNTRAINED.capitalize()))
    return outputs_of(returned, inputs, task.output)
