"""Where a model's parameters are: in layers that can be factorised, in layers that cannot, and in other modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from ranksearch.networks.kinds import weight_of
from ranksearch.networks.layers import Layer


@dataclass(frozen=True)
class Others:
    """Modules of one type that are no layers of ours: how many, and how many parameters they have themselves."""

    kind: str
    modules: int
    params: int


@dataclass(frozen=True)
class Inventory:
    """Parameters of a model, each counted once: its layers', and those of other modules by type, most first."""

    total: int
    able: int
    dense: int
    others: tuple[Others, ...]


def take_inventory(model: nn.Module, layers: Sequence[Layer]) -> Inventory:
    """The inventory of a model whose layers these are. A shared parameter counts where it is met first."""
    reasons = {layer.name: layer.reason for layer in layers}
    seen: set[int] = set()
    able = dense = 0
    others: dict[str, Others] = {}
    for name, module in model.named_modules():
        own = {id(p): p.numel() for p in module.parameters(recurse=False) if id(p) not in seen}
        seen |= own.keys()
        count = sum(own.values())
        if name in reasons:
            able, dense = (able + count, dense) if reasons[name] is None else (able, dense + count)
        elif count:
            kind = type(module).__name__
            before = others.get(kind, Others(kind, 0, 0))
            others[kind] = Others(kind, before.modules + 1, before.params + count)
    ordered = sorted(others.values(), key=lambda found: -found.params)
    return Inventory(able + dense + sum(o.params for o in ordered), able, dense, tuple(ordered))


def met_again(model: nn.Module, layers: Sequence[Layer]) -> set[str]:
    """Names of the layers whose weight an earlier one has, too."""
    seen: set[int] = set()
    again = set()
    for layer in layers:
        weight = weight_of(model.get_submodule(layer.name))
        if weight is not None and id(weight) in seen:
            again.add(layer.name)
        seen.add(id(weight))
    return again
