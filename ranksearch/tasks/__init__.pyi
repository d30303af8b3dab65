from .behaviour import (
    Answers,
    Behaviour,
    Predictions,
    answers,
    calibration_error,
    classifies,
    compare_answers,
)
from .fitness import check_fit, check_metric, check_targets
from .items import Reader
from .losses import CROSS_ENTROPY, Loss, MetricFn, top1
from .metrics import Metric
from .named import losses_of, metric_of
from .paired import INTERVAL, Drop, least_upper
from .registry import LOSSES, METRICS
from .scores import (
    Estimate,
    divergence,
    evaluate,
    example_scores,
    metric_name,
    show_estimate,
    way_to_scores,
)
from .splits import make_splits
from .task import Role, Task

__all__ = [
    "CROSS_ENTROPY",
    "INTERVAL",
    "LOSSES",
    "METRICS",
    "Answers",
    "Behaviour",
    "Drop",
    "Estimate",
    "Loss",
    "Metric",
    "MetricFn",
    "Predictions",
    "Reader",
    "Role",
    "Task",
    "answers",
    "calibration_error",
    "check_fit",
    "check_metric",
    "check_targets",
    "classifies",
    "compare_answers",
    "divergence",
    "evaluate",
    "example_scores",
    "least_upper",
    "losses_of",
    "make_splits",
    "metric_name",
    "metric_of",
    "show_estimate",
    "top1",
    "way_to_scores",
]
