"""Groups of layers that share a parameter, so that a search has a few parameters instead of one per layer."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

from ranksearch.networks import Layer

MAX_GROUPS = 8
MIN_GROUPS = 4

Label = TypeVar("Label", bound=Hashable)


def by_stage(names: Sequence[str]) -> dict[str, list[int]]:
    """Layers by the shortest prefix of their dotted names that gives four to eight groups.

    `layer1.0.conv1` and `layer1.2.conv2` share `layer1`. If no prefix does, the layers in order are cut into at
    most eight runs of equal length instead.
    """
    for depth in range(1, 1 + max((name.count(".") + 1 for name in names), default=0)):
        groups = _collect([".".join(name.split(".")[:depth]) for name in names])
        if MIN_GROUPS <= len(groups) <= MAX_GROUPS:
            return groups
    count = min(MAX_GROUPS, len(names))
    runs = _collect([k * count // len(names) for k in range(len(names))]).values()
    return {names[run[0]] + ("…" if len(run) > 1 else ""): run for run in runs}


def by_shape(layers: Sequence[Layer], most: int = 12) -> dict[str, list[int]]:
    """Layers of equal kernel shape and stride; by stage if that gives more than `most` groups."""
    labels = []
    for layer in layers:
        taps = "×".join(map(str, layer.kernel_size))
        stride = "" if set(layer.stride) <= {1} else f" /{'×'.join(map(str, layer.stride))}"
        labels.append(f"{layer.in_channels}→{layer.out_channels} {taps}{stride}".rstrip())
    groups = _collect(labels)
    return groups if len(groups) <= most else by_stage([layer.name for layer in layers])


def _collect(labels: Sequence[Label]) -> dict[Label, list[int]]:
    groups: dict[Label, list[int]] = {}
    for index, label in enumerate(labels):
        groups.setdefault(label, []).append(index)
    return groups
