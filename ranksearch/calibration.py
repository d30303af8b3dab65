"""The moments of a task's images, computed once and kept in the task's cache."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

import torch

from ranksearch.cache import FORMAT, Cache, Entry, digest
from ranksearch.layers import Layer
from ranksearch.losses import Loss
from ranksearch.metric import Columns
from ranksearch.moments import COLUMNS, POSITIONS, TEMPERATURE, WIDE, Moments, collect_moments
from ranksearch.task import Role, Task


def task_moments(
    task: Task,
    layers: Sequence[Layer],
    roles: Sequence[Role],
    *,
    seed: int,
    on_batch: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Moments]:
    """Moments of a task's model on the images of some roles; `on_batch` is told how many of how many are done."""
    total = sum(len(task.inputs(role)) for role in roles)
    found: dict[str, Moments] = {}
    before = 0
    for role in roles:

        def told(done: int, before: int = before) -> None:
            on_batch(before + done, total)

        moments = _role_moments(task, layers, role, seed, told)
        before += len(task.inputs(role))
        on_batch(before, total)
        found = {name: m if name not in found else found[name].merged(m) for name, m in moments.items()}
    return found


def _role_moments(
    task: Task, layers: Sequence[Layer], role: Role, seed: int, on_batch: Callable[[int], None]
) -> dict[str, Moments]:
    cache = Cache(task.cache)
    keys = moments_keys(task, layers, role, seed) if task.cache else {}
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


def moments_keys(task: Task, layers: Sequence[Layer], role: Role, seed: int) -> Mapping[str, str]:
    """What the moments of each layer depend on, as keys of a cache."""
    common = digest(
        FORMAT,
        version("ranksearch"),
        torch.__version__,
        *_computes(task),
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


def _source(model: torch.nn.Module) -> str:
    """The structure of a model, and the code of its modules: what a state dict does not tell."""
    kinds = sorted({type(module) for module in model.modules()}, key=lambda kind: kind.__qualname__)
    return repr(model) + "".join(map(source_of, kinds))


def _plain(module: torch.nn.Module) -> dict[str, object]:
    """Attributes of a module that its code may read, as far as their values can be told."""
    known = (bool, int, float, str, tuple, type(None))
    own = {
        name: value for name, value in vars(module).items() if not name.startswith("_") and name != "training"
    }
    return {name: value for name, value in own.items() if isinstance(value, known)}


def _loss_source(loss: Loss) -> str:
    return loss.name + "".join(map(source_of, (loss.value, loss.sample, loss.divergence)))


def source_of(thing: object) -> str:
    """The code of a class or function; where there is none to be had, what tells it from any other."""
    try:
        return inspect.getsource(thing)  # type: ignore[arg-type]
    except (OSError, TypeError):
        return repr(thing)


def _written(moments: Moments) -> Entry:
    wide = isinstance(moments.A, Columns)
    matrix = moments.A.X if isinstance(moments.A, Columns) else moments.A
    plain = {"wide": wide, "samples": moments.samples, "patches": moments.patches}
    return {"A": matrix, "G": moments.G}, plain


def _read(entry: Entry) -> Moments:
    tensors, plain = entry
    A = Columns(tensors["A"], 0.0) if plain["wide"] else tensors["A"]
    return Moments(A, tensors["G"], plain["samples"], plain["patches"])
