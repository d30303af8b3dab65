from .losses import CROSS_ENTROPY, Loss, MetricFn
from .registry import LOSSES
from .scores import Estimate, divergence, evaluate, metric_name, show_estimate
from .splits import make_splits
from .task import Role, Task, pair_of

__all__ = [
    "CROSS_ENTROPY",
    "LOSSES",
    "Estimate",
    "Loss",
    "MetricFn",
    "Role",
    "Task",
    "divergence",
    "evaluate",
    "make_splits",
    "metric_name",
    "pair_of",
    "show_estimate",
]
