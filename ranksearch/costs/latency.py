"""`latency`: the time of a forward pass, measured on the machine and runtime at hand, in nanoseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from ranksearch.costs.metric import CostMetric

if TYPE_CHECKING:
    from torch import nn

    from ranksearch.networks import Batch, Chain, Layer


class Latency(CostMetric):
    """Nothing in a layer's geometry tells it: candidates get their times from `ranksearch.timing`."""

    name = "latency"
    unit = "ms"
    base = "s"
    exact = False
    measured = True

    def of_layer(self, layer: Layer) -> NoReturn:
        raise NotImplementedError(_MEASURED)

    def of_chain(self, layer: Layer, chain: Chain) -> NoReturn:
        raise NotImplementedError(_MEASURED)

    def of_model(self, model: nn.Module, example: Batch) -> NoReturn:
        raise NotImplementedError(_MEASURED)

    def show(self, amount: int) -> str:
        return f"{amount / 1e6:.3g}"


_MEASURED = "latency is measured, not computed"
