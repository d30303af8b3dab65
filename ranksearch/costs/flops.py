"""`flops`: the floating-point operations of one example, two per multiply-accumulate."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ranksearch.costs.metric import CostMetric, prefixed

if TYPE_CHECKING:
    from torch import nn

    from ranksearch.networks import Batch, Chain, Layer


def factor_macs(layer: Layer, chain: Chain) -> list[int]:
    """Multiply-accumulates of each factor of a chain, in all calls of the layer for one example. A lookup has none."""
    macs = [0] * len(chain)
    for call in layer.calls:
        size = list(call.in_size)
        for k, factor in enumerate(chain):
            places = prod(size)
            for axis in factor.axes:
                size[axis] = call.out_size[axis]
            if not layer.traits.transposed:  # a transposed one multiplies once for each of its inputs
                places = prod(size)
            macs[k] += places * prod(factor.shape(layer.kernel_size))
    return [0, *macs[1:]] if layer.traits.lookup else macs


class FLOPs(CostMetric):
    """As torch's `FlopCounterMode` counts them, in evaluation mode, with what it does not know from `operations.py`.

    A factor before a strided one runs at the input's resolution. An Embedding costs nothing. The fused kernels of
    `nn.MultiheadAttention` and `nn.TransformerEncoderLayer` are disabled: they take several layers at once.
    """

    name = "flops"
    unit = "FLOPs"

    def of_layer(self, layer: Layer) -> int:
        if layer.traits.lookup:
            return 0
        sizes = (call.in_size if layer.traits.transposed else call.out_size for call in layer.calls)
        return 2 * sum(map(prod, sizes)) * layer.out_channels * layer.fan_in

    def of_chain(self, layer: Layer, chain: Chain) -> int:
        return 2 * sum(factor_macs(layer, chain))

    def of_model(self, model: nn.Module, example: Batch) -> int:
        from torch.utils.flop_counter import FlopCounterMode

        from ranksearch.costs.operations import counted_operations
        from ranksearch.networks import attention_fast_path, call_once, eval_mode, first_example

        counter = FlopCounterMode(display=False, custom_mapping=counted_operations())
        with eval_mode(model), attention_fast_path(False), counter:
            call_once(model, first_example(model, example))
        return int(counter.get_total_flops())

    def brief(self, amount: int) -> str:
        return prefixed(amount)
