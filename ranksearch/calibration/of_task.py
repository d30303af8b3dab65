"""The moments of a task's images, computed once and kept in the task's cache."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

import torch

from ranksearch.cache import FORMAT, Cache, Entry, digest
from ranksearch.calibration.digests import computation_digest
from ranksearch.calibration.moments import TEMPERATURE, WIDE, WIDE_OUTPUTS, Moments, collect_moments
from ranksearch.calibration.patches import COLUMNS, POSITIONS
from ranksearch.calibration.roots import Columns
from ranksearch.networks import Layer, size, split
from ranksearch.progress import Progress, Ticks, no_progress, no_ticks, ticks
from ranksearch.tasks import Role, Task


def task_moments(
    task: Task,
    layers: Sequence[Layer],
    roles: Sequence[Role],
    *,
    seed: int,
    computes: str | None = None,
    on_batch: Ticks = no_ticks,
) -> dict[str, Moments]:
    """Moments of a task's model on the images of some roles; `on_batch` receives the images done and in total.

    `computes` is `computation_digest(task)`, if already known.
    """
    if computes is None:
        computes = computation_digest(task) if task.cache else ""
    total = sum(size(task.inputs(role)) for role in roles)
    found: dict[str, Moments] = {}
    before = 0
    for role in roles:

        def told(done: int, before: int = before) -> None:
            on_batch(before + done, total)

        moments = _role_moments(task, layers, role, seed, computes, told)
        before += size(task.inputs(role))
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
        split(task.inputs(role), task.batch_size),
        task.loss,
        seed=seed,
        device=task.device,
        output=task.output,
        images=getattr(task.splits, role, ()),
        on_batch=on_batch,
    )
    for name, moments in computed.items():
        if task.cache:
            cache.put(keys[name], *_written(moments))
    return {layer.name: (found | computed)[layer.name] for layer in layers}


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
        (WIDE, WIDE_OUTPUTS, COLUMNS, POSITIONS, TEMPERATURE),
        seed,
    )
    return {layer.name: digest(common, layer) for layer in layers}


def _written(moments: Moments) -> Entry:
    both = {"A": moments.A, "G": moments.G}
    tensors = {name: m.X if isinstance(m, Columns) else m for name, m in both.items()}
    wide = [name for name, m in both.items() if isinstance(m, Columns)]
    return tensors, {"wide": wide, "samples": moments.samples, "patches": moments.patches}


def _read(entry: Entry) -> Moments:
    tensors, plain = entry
    A, G = (Columns(tensors[name], 0.0) if name in plain["wide"] else tensors[name] for name in ("A", "G"))
    return Moments(A, G, plain["samples"], plain["patches"])


def calibration_moments(
    task: Task,
    layers: Sequence[Layer],
    *,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, Moments]:
    """Moments of all calibration images, those for the divergence included."""
    stage = "moments of all calibration images"
    return task_moments(
        task,
        layers,
        ("moments", "divergence"),
        seed=seed,
        on_batch=ticks(progress, stage),
    )
