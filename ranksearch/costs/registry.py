"""The cost metrics, by name."""

from __future__ import annotations

from collections.abc import Sequence

from ranksearch.costs.metric import CostMetric
from ranksearch.registry import Registry

COSTS: Registry[CostMetric] = Registry(
    "metric", "ranksearch.costs", lambda thing: isinstance(thing, CostMetric), "a CostMetric"
)

COSTS.offer("params", "ranksearch.costs.params:Params", "parameters of the whole model")
COSTS.offer("flops", "ranksearch.costs.flops:FLOPs", "FLOPs of one example, two per multiply-accumulate")
COSTS.offer("bytes", "ranksearch.costs.bytes:Bytes", "size of the weights file, without its header")
COSTS.offer(
    "int8_bytes",
    "ranksearch.costs.int8_bytes:Int8Bytes",
    "the same of a file whose layers are int8 where that pays",
)
COSTS.offer("latency", "ranksearch.costs.latency:Latency", "time of a forward pass, measured on this machine")


def unit_of(metric: str) -> str:
    """The unit of a cost metric; its name if no working metric is registered, as when a file is only shown."""
    found = COSTS.find(metric)
    return metric if found is None else found.unit


def is_measured(metric: str) -> bool:
    """Whether a cost metric is measured; not if no working metric is registered."""
    found = COSTS.find(metric)
    return found is not None and found.measured


def computed(metrics: Sequence[str]) -> tuple[str, ...]:
    """Those of some cost metrics that follow from the model itself."""
    return tuple(name for name in metrics if not COSTS.get(name).measured)


def shown(metric: str, amount: int) -> str:
    """An amount formatted for display, without its unit."""
    found = COSTS.find(metric)
    return f"{amount:,}" if found is None else found.show(amount)


def briefly(metric: str, amount: int) -> str:
    """The same where there is little room."""
    found = COSTS.find(metric)
    return f"{amount:,}" if found is None else found.brief(amount)
