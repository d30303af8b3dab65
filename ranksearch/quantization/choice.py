"""Which layers stay float: those whose quantisation costs most, as few as the limit asks for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from math import ceil

from ranksearch.errors import InputError, expected

GROUPS = 32
"""The most groups of consecutive layers that are measured one at a time: a deep network has several layers in each."""

TOLERANCE = 0.005
"""How much divergence from the float model is accepted, as a part of that of a model that always returns the mean
output."""


@dataclass(frozen=True)
class Choice:
    """The numbers of the layers that stay float, and how many divergences were measured to find them."""

    kept: frozenset[int]
    evaluations: int


def as_planned(names: Sequence[str], planned: Collection[str]) -> Choice:
    """The layers to keep float where a plan names those that are int8; factors go by the layer's name and a number.

    names: of the layers of a graph. Raises InputError where one that is planned is not among them.
    """
    of_layer = [name if name in planned else name.rpartition(".")[0] for name in names]
    if missing := sorted(set(planned).difference(of_layer)):
        wanted = f"the {len(planned)} layers that the plan has in int8 in the graph of the exported file"
        raise InputError(expected("quantize", wanted, f"none of the name {missing[0]}"))
    return Choice(frozenset(k for k, name in enumerate(of_layer) if name not in planned), 1)


def choose_float(
    layers: int, divergence: Callable[[frozenset[int]], float], limit: float, groups: int = GROUPS
) -> Choice:
    """The layers to keep float so that the divergence is at most `limit`; all where nothing less will do.

    If all layers cannot be quantised, each group is quantised alone, and the most sensitive groups stay float:
    as few as bisection finds, which takes the divergence to fall with their number. divergence: measures the model
    in which these layers are float and the others quantised.
    """
    everything = frozenset(range(layers))
    if divergence(frozenset()) <= limit:
        return Choice(frozenset(), 1)
    length = ceil(layers / groups)
    found = [frozenset(range(start, min(start + length, layers))) for start in range(0, layers, length)]
    alone = {group: divergence(everything - group) for group in found}
    ordered = sorted(found, key=lambda group: alone[group], reverse=True)
    too_few, enough, evaluations = 0, len(ordered), 1 + len(found)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        evaluations += 1
        if divergence(frozenset().union(*ordered[:middle])) <= limit:
            enough = middle
        else:
            too_few = middle
    return Choice(frozenset().union(*ordered[:enough]), evaluations)
