"""Tasks: a model, its data, loss and metric."""

from __future__ import annotations

from ranksearch.tasks.losses import CROSS_ENTROPY, Loss, MetricFn, get_loss
from ranksearch.tasks.scores import Estimate, divergence, evaluate, metric_name, show_estimate
from ranksearch.tasks.splits import make_splits
from ranksearch.tasks.task import Role, Task, pair_of

__all__ = [
    "CROSS_ENTROPY",
    "Estimate",
    "Loss",
    "MetricFn",
    "Role",
    "Task",
    "divergence",
    "evaluate",
    "get_loss",
    "make_splits",
    "metric_name",
    "pair_of",
    "show_estimate",
]
