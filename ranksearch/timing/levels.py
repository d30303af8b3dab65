"""Which chains to time: every form of every decomposition, at some ranks from small to as costly as the dense layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ranksearch.costs import chain_cost, layer_cost
from ranksearch.decompositions import DECOMPOSITIONS, Ranks
from ranksearch.networks import Chain, Layer
from ranksearch.timing.runtime import Chains

LEVELS = 8
"""Ranks of each form that are timed; the times between them are interpolated."""

Form = tuple[str, str]
"""A decomposition and one of its forms."""


def forms_of(layers: Sequence[Layer], decompositions: Sequence[str]) -> list[Form]:
    """Every form that some layer can take."""
    found = {
        (name, form): None
        for name in decompositions
        for layer in layers
        for form in DECOMPOSITIONS.get(name).forms(layer)
    }
    return list(found)


def levels(layers: Sequence[Layer], form: Form, multiple: Callable[[Layer], int]) -> list[Chains]:
    """The chains of one form for all layers that can take it, in up to `LEVELS` levels of rank.

    With several ranks all are the same fraction of the largest.
    """
    paths = {layer.name: chains_up_to_dense(layer, form, multiple(layer)) for layer in layers}
    deepest = max(map(len, paths.values()), default=0)
    count = min(LEVELS, deepest)
    found: list[Chains] = []
    for level in range(count):
        at = level / max(1, count - 1)
        found.append({name: path[round(at * (len(path) - 1))] for name, path in paths.items() if path})
    return found


def chains_up_to_dense(layer: Layer, form: Form, multiple: int) -> list[Chain]:
    """Chains by rising cost, no costlier than the dense layer in parameters or in FLOPs."""
    decomposition = DECOMPOSITIONS.get(form[0])
    if form[1] not in decomposition.forms(layer):
        return []
    most = decomposition.max_ranks(layer, form[1])
    dense = layer_cost(layer)
    found: dict[Ranks, Chain] = {}
    for fraction in np.geomspace(min(1.0, multiple / max(most)), 1.0, 64):
        ranks = tuple(_on_grid(fraction * r, multiple, r) for r in most)
        if ranks in found:
            continue
        chain = decomposition.chain(layer, form[1], ranks)
        cost = chain_cost(layer, chain)
        if cost.params >= dense.params and cost.flops >= dense.flops:
            break
        found[ranks] = chain
    return list(found.values())


def _on_grid(rank: float, multiple: int, most: int) -> int:
    return max(1, min(most, max(1, round(rank / multiple)) * multiple))
