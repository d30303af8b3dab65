from .base import Objective, Report, Score, no_report
from .finetune import geometric_steps
from .registry import ERROR, OBJECTIVES, make_objective, score_label, scores_by_price
from .scoring import Scoring

__all__ = [
    "ERROR",
    "OBJECTIVES",
    "Objective",
    "Report",
    "Score",
    "Scoring",
    "geometric_steps",
    "make_objective",
    "no_report",
    "score_label",
    "scores_by_price",
]
