from .budget import Budget, Kept, Limits
from .cost import Cost
from .flops import factor_macs
from .measure import ALWAYS, chain_cost, counted, layer_cost, measure_cost
from .metric import CostMetric
from .registry import COSTS, computed, shown, unit_of

__all__ = [
    "ALWAYS",
    "COSTS",
    "Budget",
    "Cost",
    "CostMetric",
    "Kept",
    "Limits",
    "chain_cost",
    "computed",
    "counted",
    "factor_macs",
    "layer_cost",
    "measure_cost",
    "shown",
    "unit_of",
]
