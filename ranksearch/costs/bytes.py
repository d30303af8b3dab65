"""`bytes`: the tensors of the model's weights file, in their own precision."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ranksearch.costs.metric import CostMetric

if TYPE_CHECKING:
    from torch import nn

    from ranksearch.networks import Batch, Chain, Layer


class Bytes(CostMetric):
    """Parameters and buffers, BatchNorm statistics among them, as `model.safetensors` holds them: tied ones once.

    The header of the file, which names the tensors, is not counted: about 100 bytes for each of them.
    """

    name = "bytes"
    unit = "MB"
    base = "B"

    def of_layer(self, layer: Layer) -> int:
        return layer.itemsize * layer.out_channels * (layer.fan_in + layer.bias)

    def of_chain(self, layer: Layer, chain: Chain) -> int:
        weights = sum(prod(factor.shape(layer.kernel_size)) for factor in chain)
        return layer.itemsize * (weights + layer.bias * layer.out_channels)

    def of_model(self, model: nn.Module, example: Batch) -> int:
        from ranksearch.networks import stored_tensors

        return stored_tensors(model).nbytes

    def show(self, amount: int) -> str:
        return f"{amount / 1e6:.4g}"
