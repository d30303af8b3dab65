"""Objectives: how a plan is scored, analytically or measured on the model."""

from __future__ import annotations

from ranksearch.errors import InputError, expected
from ranksearch.objectives.base import LADDER, SCORES, Objective, Report, Score, no_report
from ranksearch.objectives.divergence import Divergence
from ranksearch.objectives.finetune import Finetune, geometric_steps
from ranksearch.objectives.ordered import Ordered
from ranksearch.objectives.reconstruction import Reconstruction
from ranksearch.objectives.refitted import Refitted
from ranksearch.objectives.scoring import Scoring

OBJECTIVES: dict[str, type[Objective]] = {}


def register(objective: type[Objective]) -> type[Objective]:
    """Offer an objective under its name; usable as a class decorator."""
    OBJECTIVES[objective.name] = objective
    return objective


def make_objective(name: str, scoring: Scoring) -> Objective:
    """The objective of that name for one problem."""
    if name not in OBJECTIVES:
        raise InputError(expected("objective", " or ".join(OBJECTIVES), repr(name)))
    return OBJECTIVES[name](scoring)


for _objective in (Reconstruction, Divergence, Ordered, Refitted, Finetune):
    register(_objective)

__all__ = [
    "LADDER",
    "OBJECTIVES",
    "SCORES",
    "Objective",
    "Report",
    "Score",
    "Scoring",
    "geometric_steps",
    "make_objective",
    "no_report",
    "register",
]
