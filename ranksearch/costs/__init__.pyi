from .budget import Budget, Kept, Limits
from .cost import Cost
from .flops import factor_macs
from .int8_bytes import INT8_BYTES, as_int8
from .measure import ALWAYS, chain_cost, counted, layer_cost, layers_cost, measure_cost
from .memory import peak_activation_bytes
from .metric import CostMetric
from .part import BLOCKS, FACTORISABLE, Part, part_in_words
from .registry import COSTS, briefly, computed, is_measured, shown, unit_of
from .shortfall import Shortfall, unmet

__all__ = [
    "ALWAYS",
    "BLOCKS",
    "COSTS",
    "FACTORISABLE",
    "INT8_BYTES",
    "Budget",
    "Cost",
    "CostMetric",
    "Kept",
    "Limits",
    "Part",
    "Shortfall",
    "as_int8",
    "briefly",
    "chain_cost",
    "computed",
    "counted",
    "factor_macs",
    "is_measured",
    "layer_cost",
    "layers_cost",
    "measure_cost",
    "part_in_words",
    "peak_activation_bytes",
    "shown",
    "unit_of",
    "unmet",
]
