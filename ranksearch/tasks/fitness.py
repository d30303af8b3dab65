"""Whether model, data and loss fit together: looked at on a few examples, before anything long is begun."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, cast

import torch
from torch import Tensor

from ranksearch.errors import InputError, blaming, expected
from ranksearch.networks import (
    Batch,
    MaskAt,
    call,
    device_of,
    eval_mode,
    one_tensor,
    outputs_of,
    real_positions,
    seeded,
    to,
    usual_path,
)
from ranksearch.tasks.losses import Loss
from ranksearch.tasks.scores import parts_of
from ranksearch.tasks.task import Role, Task

_LOOKED_AT = 8
"""Examples by which a loss is checked."""

_TARGETS_LOOKED_AT = 32


def check_fit(task: Task) -> tuple[str, ...]:
    """What was chosen without being asked for, in a line each: which output counts, and which mask.

    Raises InputError, with the loss to take, where data or outputs tell that it is another one; and where a mask was
    handed in as a target.
    """
    inputs, targets = _examples(task, "moments", _LOOKED_AT)
    returned, outputs = _outputs(task, inputs)
    if isinstance(targets, Tensor):
        _check_no_mask(task, inputs, targets)
    if task.loss.axis == 1:
        _check_classes_second(task.loss, inputs, outputs, targets if isinstance(targets, Tensor) else None)
    notes = []
    if task.reading.output is one_tensor and (path := usual_path(returned)):
        notes.append(f"output: {path} of what the model returns ({type(returned).__name__}) counts")
    if (pool := task.reading.pool) is not None:
        notes.append(f"pool: the {pool} of the positions counts")
    mask = task.reading.mask
    if isinstance(mask, MaskAt) and not mask.asked and real_positions(task.output, inputs) is not None:
        notes.append(f"mask: positions where {mask.path} is 0 do not count")
    return tuple(notes)


def check_targets(task: Task, role: Role) -> None:
    """Raises InputError where the loss cannot take the targets of a role's first examples."""
    dataset = task.dataset(role)
    if dataset is None:
        return
    inputs, targets = _examples(task, role, _TARGETS_LOOKED_AT)
    placed, wanted = task.placed(role, inputs, targets)
    if wanted is None:
        return
    _, outputs = _outputs(task, placed)
    with blaming(f"loss {task.loss.name}", "one that takes the model's outputs and the targets"):
        task.loss.value(outputs, wanted.to(outputs.device))


def check_metric(task: Task) -> None:
    """Raises InputError where the metric gives no score for each of the first examples that it is to be measured on."""
    roles: tuple[Role, ...] = ("validation", "test")
    for role in roles:
        if task.dataset(role) is None:
            continue
        placed, wanted = task.placed(role, *_examples(task, role, _TARGETS_LOOKED_AT))
        if wanted is None:
            continue
        try:
            _, outputs = _outputs(task, placed)
        except InputError:  # a model that does not run on them is told of where they are needed
            continue
        parts_of(task, outputs, wanted.to(outputs.device))


def _examples(task: Task, role: Role, count: int) -> tuple[Batch, Any]:
    dataset: Any = task.dataset(role)
    with seeded(task.seed, task.device):
        items = [dataset[k] for k in range(min(count, task.batch_size, len(cast(Sized, dataset))))]
        try:
            return task.read(items)
        except InputError:  # targets that go into no batch matter only where they are used
            return task.read(items, labelled=False)


def _outputs(task: Task, inputs: Batch) -> tuple[Any, Tensor]:
    parameter = next(task.model.parameters(), None)
    placed = to(inputs, device_of(inputs) if parameter is None else parameter.device)
    with eval_mode(task.model):
        returned = call(task.model, placed)
        return returned, outputs_of(returned, placed, task.output)


def _check_no_mask(task: Task, inputs: Batch, targets: Tensor) -> None:
    """That the target of a pair is not the mask of its input, where the model takes one."""
    if not (
        task.takes_masks and isinstance(inputs, Tensor) and inputs.shape == targets.shape and inputs.dim() > 1
    ):
        return
    ones = targets.int() == 1
    ends = ones.flatten(1).int().diff(dim=1)
    if bool((ones | (targets == 0)).all()) and bool((ends.ne(0).sum(dim=1) <= 1).all()) and bool(ones.any()):
        wanted = "pairs of an input and its target"
        way_out = "Write ((ids, mask), target), or a dict with the names that the model gives its arguments."
        raise InputError(
            expected("training data", wanted, "targets that look like masks of the inputs", way_out)
        )


def _check_classes_second(loss: Loss, inputs: Batch, outputs: Tensor, targets: Tensor | None) -> None:
    what = f"loss {loss.name}"
    second = (len(outputs), *outputs.shape[2:])
    tokens = isinstance(inputs, Tensor) and not inputs.is_floating_point() and inputs.dim() > 1
    positions = targets if targets is not None else inputs if tokens else None
    if outputs.dim() > 2 and positions is not None and second != positions.shape == outputs.shape[:-1]:
        wanted = f"outputs with the classes on axis 1, {(len(outputs), 'classes', *outputs.shape[1:-1])}"
        way_out = "Where they are last, take token_cross_entropy; for a language model causal_lm."
        raise InputError(expected(what, wanted, tuple(outputs.shape), way_out))
    alike = targets is not None and targets.is_floating_point() and targets.shape == outputs.shape
    if targets is not None and alike and not _are_probabilities(targets):
        low, high = float(targets.min()), float(targets.max())
        got = f"numbers from {low:.3g} to {high:.3g} in the shape of the outputs"
        raise InputError(
            expected(what, "classes, or their probabilities, as targets", got, _instead(targets))
        )
    if outputs.dim() == 2 and outputs.shape[1] > 1 and len(outputs) > 1 and _are_unit(outputs):
        got = "vectors of length 1, as embeddings are"
        raise InputError(expected(what, "logits of classes", got, "For embeddings take cosine."))


def _are_probabilities(targets: Tensor) -> bool:
    whole = targets.sum(dim=1)
    return bool((targets >= 0).all()) and torch.allclose(whole, torch.ones_like(whole), atol=1e-2)


def _are_unit(vectors: Tensor) -> bool:
    lengths = vectors.float().norm(dim=-1)
    return torch.allclose(lengths, torch.ones_like(lengths), atol=1e-3)


def _instead(targets: Tensor) -> str:
    if bool(((targets == 0) | (targets == 1)).all()):
        return "For several yeses and noes take binary_cross_entropy."
    if targets.dim() == 2 and _are_unit(targets):
        return "For embeddings take cosine."
    return "For numbers, such as those of an image, take squared_error."
