"""The moments of a task's images, computed once and kept in the task's cache."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version

import torch

from ranksearch.cache import FORMAT, Cache, digest
from ranksearch.calibration.digests import computation_digest
from ranksearch.calibration.held import HeldMoments, read, roomfuls, written
from ranksearch.calibration.moments import TEMPERATURE, WIDE, WIDE_OUTPUTS, Moments, collect_moments
from ranksearch.calibration.patches import COLUMNS, POSITIONS
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
) -> HeldMoments:
    """Moments of a task's model on the images of some roles; `on_batch` receives the images done and in total.

    `computes` is `computation_digest(task)`, if already known.
    """
    if computes is None:
        computes = computation_digest(task) if task.cache else ""
    total = sum(size(task.inputs(role)) for role in roles)
    found = HeldMoments()
    before = 0
    for role in roles:

        def told(done: int, before: int = before) -> None:
            on_batch(before + done, total)

        for name, own in _role_moments(task, layers, role, seed, computes, told):
            found.put(name, found[name].merged(own) if name in found else own)
        before += size(task.inputs(role))
        on_batch(before, total)
    return found


def _role_moments(
    task: Task,
    layers: Sequence[Layer],
    role: Role,
    seed: int,
    computes: str,
    on_batch: Callable[[int], None],
) -> Iterator[tuple[str, Moments]]:
    """Of as many layers at a time as there is room for, in a pass of their own."""
    keys = moments_keys(task, layers, role, seed, computes) if task.cache else {}
    groups = roomfuls(layers)
    for number, group in enumerate(groups):

        def told(done: int, number: int = number) -> None:
            on_batch((number * size(task.inputs(role)) + done) // len(groups))

        yield from _of_group(task, group, role, seed, keys, told).items()


def _of_group(
    task: Task,
    layers: Sequence[Layer],
    role: Role,
    seed: int,
    keys: Mapping[str, str],
    on_batch: Callable[[int], None],
) -> dict[str, Moments]:
    cache = Cache(task.cache)
    named = {layer.name: keys[layer.name] for layer in layers} if keys else {}
    found = {name: read(entry) for name, key in named.items() if (entry := cache.get(key)) is not None}
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
            cache.put(keys[name], *written(moments))
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


def calibration_moments(
    task: Task,
    layers: Sequence[Layer],
    *,
    seed: int = 0,
    progress: Progress = no_progress,
) -> HeldMoments:
    """Moments of all calibration images, those for the divergence included."""
    stage = "moments of all calibration images"
    return task_moments(
        task,
        layers,
        ("moments", "divergence"),
        seed=seed,
        on_batch=ticks(progress, stage),
    )
