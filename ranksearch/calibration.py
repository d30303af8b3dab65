"""The moments of a task's images, computed once and kept in the task's cache."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ranksearch.cache import FORMAT, Cache, Entry, digest
from ranksearch.evaluate import run
from ranksearch.layers import Layer
from ranksearch.losses import Loss
from ranksearch.metric import Columns
from ranksearch.modules import seeded
from ranksearch.moments import COLUMNS, POSITIONS, TEMPERATURE, WIDE, Moments, collect_moments
from ranksearch.task import Role, Task

_PROBED = 2
"""Images whose outputs tell a model from others with the same weights."""

_UNKNOWN = "\0"


def task_moments(
    task: Task,
    layers: Sequence[Layer],
    roles: Sequence[Role],
    *,
    seed: int,
    computes: str | None = None,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Moments]:
    """Moments of a task's model on the images of some roles; `on_batch` is told how many of how many are done.

    `computes` is `computation_digest(task)`, where that is at hand.
    """
    if computes is None:
        computes = computation_digest(task) if task.cache else ""
    total = sum(len(task.inputs(role)) for role in roles)
    found: dict[str, Moments] = {}
    before = 0
    for role in roles:

        def told(done: int, before: int = before) -> None:
            on_batch(before + done, total)

        moments = _role_moments(task, layers, role, seed, computes, told)
        before += len(task.inputs(role))
        on_batch(before, total)
        found = {name: m if name not in found else found[name].merged(m) for name, m in moments.items()}
    return found


def _role_moments(
    task: Task,
    layers: Sequence[Layer],
    role: Role,
    seed: int,
    computes: str,
    on_batch: Callable[[int], None],
) -> dict[str, Moments]:
    cache = Cache(task.cache)
    keys = moments_keys(task, layers, role, seed, computes) if task.cache else {}
    found = {name: _read(entry) for name, key in keys.items() if (entry := cache.get(key)) is not None}
    missing = [layer for layer in layers if layer.name not in found]
    computed = collect_moments(
        task.model,
        missing,
        task.inputs(role).split(task.batch_size),
        task.loss,
        seed=seed,
        device=task.device,
        on_batch=on_batch,
    )
    for name, moments in computed.items():
        if task.cache:
            cache.put(keys[name], *_written(moments))
    return {layer.name: (found | computed)[layer.name] for layer in layers}


def computation_digest(task: Task) -> str:
    """What tells a model and its loss from others: everything that a pass forward and backward depends on.

    It reads all the weights and runs the model; a model may change, so that nobody keeps it for long.
    """
    return digest(*_computes(task), _probe(task))


def moments_keys(
    task: Task, layers: Sequence[Layer], role: Role, seed: int, computes: str
) -> Mapping[str, str]:
    """What the moments of each layer depend on, as keys of a cache; `computes` is `computation_digest(task)`."""
    common = digest(
        FORMAT,
        version("ranksearch"),
        torch.__version__,
        computes,
        task.inputs_digest(role),
        task.batch_size,
        task.device.type,
        (WIDE, COLUMNS, POSITIONS, TEMPERATURE),
        seed,
    )
    return {layer.name: digest(common, layer) for layer in layers}


def task_digest(task: Task) -> str:
    """What tells scores of one task's plans from another's: model, loss, calibration images."""
    return digest(*_computes(task), *(task.inputs_digest(role) for role in ("moments", "divergence")))


def _computes(task: Task) -> tuple[object, ...]:
    """What a forward pass and its loss depend on, the inputs aside."""
    model = task.model
    tensors = dict(model.state_dict()) | dict(model.named_buffers())
    plain = {name: _plain(module) for name, module in model.named_modules()}
    return _source(model), tensors, plain, _loss_source(task.loss)


def _probe(task: Task) -> list[int]:
    """Outputs of a few images, roughly: they follow whatever else the model computes with.

    So roughly that it does not matter how many threads add them up.
    """
    inputs = task.inputs("moments")[:_PROBED]
    with seeded(0, task.device):
        outputs = run(task.model, inputs, batch_size=task.batch_size, device=task.device).float()
    scale = outputs.abs().max().clamp_min(torch.finfo(torch.float32).tiny)
    found: list[int] = (64 * outputs / scale).nan_to_num().round().int().flatten().tolist()
    return found


def _source(model: torch.nn.Module) -> str:
    """The structure of a model, and the code of its modules: what a state dict does not tell."""
    kinds = {kind for module in model.modules() for kind in type(module).__mro__}
    return repr(model) + "".join(sorted(map(source_of, kinds)))


def _plain(module: torch.nn.Module) -> dict[str, object]:
    """Attributes of a module that its code may read, as far as their values can be told."""
    own = {
        name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"
    }
    return {name: told for name, value in own.items() if (told := _told(value)) is not _UNKNOWN}


def _told(value: object) -> object:
    """A value as something with a faithful repr, `_UNKNOWN` where there is no such thing."""
    if isinstance(value, bool | int | float | str | type(None)):
        return value
    if isinstance(value, list | tuple):
        return [_told(each) for each in value]
    if isinstance(value, dict):
        return [(_told(key), _told(each)) for key, each in value.items()]
    if inspect.isroutine(value) or inspect.isclass(value):
        return source_of(value)
    return _UNKNOWN


def _loss_source(loss: Loss) -> str:
    return loss.name + "".join(map(source_of, (loss.value, loss.sample, loss.divergence)))


def source_of(thing: Any) -> str:
    """The code of a class or function and of the file it is in, whatever of which it may use; the name alone of what
    torch or Python brings, which go by their versions, and of what has no code to be had."""
    name = str(getattr(thing, "__qualname__", None) or repr(thing))
    if (getattr(thing, "__module__", None) or "").partition(".")[0] in ("torch", "builtins"):
        return name
    try:
        file = Path(inspect.getsourcefile(thing) or "").read_text(encoding="utf-8")
        return name + inspect.getsource(thing) + file
    except (OSError, TypeError, ValueError):
        return name


def _written(moments: Moments) -> Entry:
    wide = isinstance(moments.A, Columns)
    matrix = moments.A.X if isinstance(moments.A, Columns) else moments.A
    plain = {"wide": wide, "samples": moments.samples, "patches": moments.patches}
    return {"A": matrix, "G": moments.G}, plain


def _read(entry: Entry) -> Moments:
    tensors, plain = entry
    A = Columns(tensors["A"], 0.0) if plain["wide"] else tensors["A"]
    return Moments(A, tensors["G"], plain["samples"], plain["patches"])
