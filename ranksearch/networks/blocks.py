"""The repeated blocks of a model: the layers of a transformer, the residual blocks of a CNN."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from torch import nn

from ranksearch.networks.kinds import LAYER_TYPES

_CONTAINERS = (nn.ModuleList, nn.Sequential)


def repeated_blocks(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules that occur several times in one list, each with layers of its own; the outermost ones.

    Those of a list are of one type, and hold at least two layers each, as a block of attention and a feed-forward
    network does; a list of lists is none, but each of them may be one (stages).
    """
    return tuple(_blocks(model, ""))


def _blocks(module: nn.Module, prefix: str) -> Iterator[str]:
    children = dict(module.named_children())
    found: set[str] = set()
    if isinstance(module, _CONTAINERS):
        alike = Counter(type(child) for child in children.values())
        found = {
            name
            for name, child in children.items()
            if alike[type(child)] > 1 and not isinstance(child, _CONTAINERS) and _count(child) > 1
        }
    for name, child in children.items():
        if name in found:
            yield prefix + name
        else:
            yield from _blocks(child, f"{prefix}{name}.")


def _count(module: nn.Module) -> int:
    return sum(isinstance(each, tuple(LAYER_TYPES)) for each in module.modules())
