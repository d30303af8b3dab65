"""The part of a model that its budgets count: which layers are in it; those outside stay dense."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from torch import nn

from ranksearch.costs import ALWAYS, BLOCKS, FACTORISABLE, Part, layers_cost, part_in_words
from ranksearch.errors import InputError, expected
from ranksearch.networks import UNCALLED, Layer, met_again, repeated_blocks, unmatched


def take_part(
    model: nn.Module, layers: Sequence[Layer], asked: str, metrics: Sequence[str] = ALWAYS
) -> tuple[tuple[Layer, ...], Part]:
    """The layers, of which those outside of a part have a reason to stay dense, and the part.

    asked: `factorisable`, `blocks`, or shell patterns over layer names, with commas between them. Raises InputError
    where the model has no such layers, or none of them can be factorised.
    """
    names = _names(model, layers, asked)
    inside = [layer for layer in layers if layer.name in names]
    if all(layer.reason is not None for layer in inside):
        reasons = "; ".join(sorted({layer.reason or "" for layer in inside}))
        got = f"{asked!r}, none of whose {len(inside)} layers can be ({reasons})"
        raise InputError(expected("budget_of", "layers of which some can be factorised", got))
    outside = f"outside of what the budget counts, {part_in_words(asked)}"
    kept = tuple(
        layer
        if layer.name in names or layer.reason not in (None, UNCALLED)
        else replace(layer, reason=outside)
        for layer in layers
    )
    return kept, Part(asked, layers_cost(inside, met_again(model, inside), metrics))


def _names(model: nn.Module, layers: Sequence[Layer], asked: str) -> Collection[str]:
    if asked == FACTORISABLE:
        return {layer.name for layer in layers if layer.reason is None}
    if asked == BLOCKS:
        blocks = tuple(f"{name}." for name in repeated_blocks(model))
        found = {layer.name for layer in layers if layer.name.startswith(blocks)}
        if not found:
            way_out = "Give a pattern over the names of layers, which `ranksearch layers` lists."
            got = "blocks, of which the model has none"
            raise InputError(expected("budget_of", "the name of a part of the model", got, way_out))
        return found
    found = set()
    for pattern in filter(None, map(str.strip, asked.split(","))):
        matched = {layer.name for layer in layers if fnmatchcase(layer.name, pattern)}
        if not matched:
            raise unmatched("budget_of", pattern, layers)
        found |= matched
    if not found:
        wanted = f"{FACTORISABLE}, {BLOCKS} or a pattern over the names of layers"
        raise InputError(expected("budget_of", wanted, repr(asked)))
    return found
