"""`params`: the parameters of a model."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ranksearch.costs.metric import CostMetric, prefixed

if TYPE_CHECKING:
    from torch import nn

    from ranksearch.networks import Batch, Chain, Layer


class Params(CostMetric):
    """`numel` of all distinct parameters, biases included."""

    name = "params"
    unit = "parameters"

    def of_layer(self, layer: Layer) -> int:
        return layer.out_channels * (layer.fan_in + layer.bias)

    def of_chain(self, layer: Layer, chain: Chain) -> int:
        return sum(prod(f.shape(layer.kernel_size)) for f in chain) + layer.bias * layer.out_channels

    def of_model(self, model: nn.Module, example: Batch) -> int:
        return sum(p.numel() for p in model.parameters())

    def brief(self, amount: int) -> str:
        return prefixed(amount)
