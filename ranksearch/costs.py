"""Parameters and FLOPs: of a model, measured; the arithmetic of budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ranksearch.errors import InputError, expected
from ranksearch.modules import attention_fast_path, eval_mode, first_example, run_once

Metric = Literal["params", "flops"]
METRICS: tuple[Metric, ...] = get_args(Metric)
UNITS: Mapping[Metric, str] = {"params": "parameters", "flops": "FLOPs"}


@dataclass(frozen=True)
class Cost:
    """Parameters, and FLOPs (two per multiply-accumulate) of one example at the stated input size."""

    params: int
    flops: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.params + other.params, self.flops + other.flops)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.params - other.params, self.flops - other.flops)

    def of(self, metric: Metric) -> int:
        """The cost in one metric."""
        return self.params if metric == "params" else self.flops


def measure_cost(model: nn.Module, example: Tensor) -> Cost:
    """Cost of a model as torch counts it: `numel` of distinct parameters, `FlopCounterMode` in eval mode.

    `example` is a batch (N, …), of which the first is run. The fused attention kernels, which the counter
    does not know, are off.
    """
    with eval_mode(model), attention_fast_path(False), FlopCounterMode(display=False) as counter:
        run_once(model, first_example(model, example))
    return Cost(sum(p.numel() for p in model.parameters()), int(counter.get_total_flops()))


def budget_limit(dense: Cost, budget: float, metric: Metric) -> int:
    """The most that a compressed model may cost: `budget` is the fraction KEPT of the whole dense model."""
    if not 0 < budget <= 1:
        raise InputError(expected("budget", "a fraction kept, 0 < budget <= 1", budget))
    return int(budget * dense.of(metric))
