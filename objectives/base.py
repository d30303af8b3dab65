"""The interface of objectives: they turn a plan into a score, lower is better."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import ClassVar

from ranksearch.objectives.scoring import Scoring
from ranksearch.planning import Plan
from ranksearch.tasks import Estimate

Report = Callable[[int, float], None]
"""Receives (step, value so far) while an objective runs; what it raises ends the evaluation."""


def no_report(step: int, value: float) -> None:
    """Ignores what is reported."""


@dataclass(frozen=True)
class Score:
    """A plan's score in units of the loss, lower is better, its standard error, and further details."""

    value: float
    stderr: float = 0.0
    details: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, estimate: Estimate, **details: float) -> Score:
        """A measured score; the standard error of an infinite one is infinite."""
        return cls(estimate.mean, estimate.stderr if isfinite(estimate.stderr) else inf, details)


class Objective(ABC):
    """Scores plans of one problem. Registered under its name in `ranksearch.objectives.OBJECTIVES`."""

    name: ClassVar[str]

    label: ClassVar[str] = ""
    """The name of its score in a sentence, `divergence as delivered`; if empty, the objective's name."""

    price: ClassVar[float] = 50
    """Orders the objectives by the time that a score takes; the built-in ones have 0, 10, 20, 30 and 40."""

    def __init__(self, scoring: Scoring) -> None:
        self.scoring = scoring

    @property
    def steps(self) -> int:
        """The last step that is reported; 0 if there are none."""
        return 0

    @abstractmethod
    def score(self, plan: Plan, report: Report = no_report) -> Score:
        """The score of a plan; the task's model is not changed."""
