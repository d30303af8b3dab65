"""What a layer, a chain and a model cost, in several cost metrics at once."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from torch import nn

from ranksearch.costs.cost import Cost
from ranksearch.costs.registry import COSTS
from ranksearch.networks import Batch, Chain, Layer

ALWAYS = ("params", "flops")
"""Cost metrics that every candidate and plan has a value for, whatever the budget counts."""


def counted(*asked: str) -> tuple[str, ...]:
    """Names of the cost metrics of a run: those that are always counted, and the requested ones."""
    return tuple(dict.fromkeys((*ALWAYS, *asked)))


def layer_cost(layer: Layer, metrics: Sequence[str] = ALWAYS) -> Cost:
    """Cost of a dense layer."""
    return Cost(**{name: COSTS.get(name).of_layer(layer) for name in metrics})


def layers_cost(
    layers: Sequence[Layer], again: Collection[str] = (), metrics: Sequence[str] = ALWAYS
) -> Cost:
    """What dense layers cost together.

    again: names of layers whose weight another one has, too: it counts once, and what they do with it each time.
    """
    total = Cost(**dict.fromkeys(metrics, 0))
    for layer in layers:
        total += layer_cost(layer, metrics)
        if layer.name in again:
            total -= layer_cost(replace(layer, calls=(), bias=False), metrics)
    return total


def chain_cost(layer: Layer, chain: Chain, metrics: Sequence[str] = ALWAYS) -> Cost:
    """Cost of a layer implemented as a chain."""
    return Cost(**{name: COSTS.get(name).of_chain(layer, chain) for name in metrics})


def measure_cost(model: nn.Module, example: Batch, metrics: Sequence[str] = ALWAYS) -> Cost:
    """Cost of a whole model for the first example of a batch."""
    return Cost(**{name: COSTS.get(name).of_model(model, example) for name in metrics})
