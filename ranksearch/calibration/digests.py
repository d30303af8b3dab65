"""Digests of models, their code, losses and images: they identify a computation."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from ranksearch.cache import digest
from ranksearch.networks import Reading, head, seeded
from ranksearch.tasks import Loss, Task

_PROBED = 2
"""Number of images whose outputs distinguish a model from others with the same weights."""

_UNKNOWN = "\0"


def computation_digest(task: Task) -> str:
    """Digest of a model and its loss: of everything that a forward and backward pass depends on.

    It reads all the weights and runs the model. A model may change, so callers should not keep it for long.
    """
    return digest(*_computes(task), _probe(task))


def task_digest(task: Task) -> str:
    """Digest of what the scores of a task's plans depend on: model, loss, calibration images."""
    return digest(*_computes(task), *(task.inputs_digest(role) for role in ("moments", "divergence")))


def task_parts(task: Task) -> dict[str, str]:
    """Digests of what the scores of a task's plans depend on, part by part: they tell in what two tasks differ."""
    source, tensors, plain, *rest = _computes(task)
    first = task.first("finetune")
    return {
        "weights": digest(tensors),
        "code of the model": digest(source, plain),
        "loss": digest(*rest),
        "calibration images": digest(*(task.inputs_digest(role) for role in ("moments", "divergence"))),
        "fine-tuning images": digest(task.splits.finetune, None if first is None else first[0]),
    }


def _computes(task: Task) -> tuple[object, ...]:
    """What a forward pass and its loss depend on, apart from the inputs."""
    model = task.model
    tensors = dict(model.state_dict()) | dict(model.named_buffers())
    plain = {name: _plain(module) for name, module in model.named_modules()}
    return _source(model), tensors, plain, _loss_source(task.loss), *_reading_source(task.reading)


def _probe(task: Task) -> list[int]:
    """Rounded outputs for a few images: they depend on everything else that the model computes with.

    The rounding is coarse enough that the number of threads does not matter.
    """
    inputs = head(task.inputs("moments"), _PROBED)
    with seeded(0, task.device):
        outputs = task.outputs(task.model, inputs).float()
    scale = outputs.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    found: list[int] = (64 * outputs / scale).nan_to_num().round().int().flatten().tolist()
    return found


def _source(model: torch.nn.Module) -> str:
    """The structure of a model, and the code of its modules: what a state dict does not contain."""
    kinds = {kind for module in model.modules() for kind in type(module).__mro__}
    return repr(model) + "".join(sorted(map(source_of, kinds)))


def _plain(module: torch.nn.Module) -> dict[str, object]:
    """Attributes of a module that its code may read, as far as their values have a faithful repr."""
    own = {
        name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"
    }
    return {name: told for name, value in own.items() if (told := _told(value)) is not _UNKNOWN}


def _told(value: object) -> object:
    """A value as something with a faithful repr, or `_UNKNOWN` if there is none."""
    if isinstance(value, bool | int | float | str | type(None)):
        return value
    if isinstance(value, list | tuple):
        return [_told(each) for each in value]
    if isinstance(value, dict):
        return [(_told(key), _told(each)) for key, each in value.items()]
    if inspect.isroutine(value) or inspect.isclass(value):
        return source_of(value)
    return _UNKNOWN


def _reading_source(reading: Reading) -> tuple[str, ...]:
    pool = () if reading.pool is None else (reading.pool,)
    return source_of(reading.output), source_of(reading.mask), *pool


def _loss_source(loss: Loss) -> str:
    own = loss.name + "".join(map(source_of, (loss.value, loss.sample, loss.divergence)))
    return own + "".join(map(_loss_source, loss.parts))


def source_of(thing: Any) -> str:
    """The code of a class or function and of the file it is in, any part of which it may use.

    Only the name for what torch or Python provides, whose versions identify it, and where no code is available.
    """
    name = str(getattr(thing, "__qualname__", None) or repr(thing))
    if (getattr(thing, "__module__", None) or "").partition(".")[0] in ("torch", "builtins"):
        return name
    try:
        file = Path(inspect.getsourcefile(thing) or "").read_text(encoding="utf-8")
        return name + inspect.getsource(thing) + file
    except (OSError, TypeError, ValueError):
        return name
