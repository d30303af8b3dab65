"""Parameters and FLOPs: of a model, measured; the arithmetic of budgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from ranksearch.errors import InputError, expected

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


def budget_limit(dense: Cost, budget: float, metric: Metric) -> int:
    """The most that a compressed model may cost: `budget` is the fraction KEPT of the whole dense model."""
    if not 0 < budget <= 1:
        raise InputError(expected("budget", "a fraction kept, 0 < budget <= 1", budget))
    return int(budget * dense.of(metric))


def budget_name(budget: float) -> str:
    """As short as it can be: 0.2, 0.125, 1."""
    return f"{budget:g}" if float(f"{budget:g}") == budget else repr(budget)
