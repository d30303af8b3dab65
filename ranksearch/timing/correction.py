"""From the time that tables predict for a plan to the one it takes, and back, by the plans that were measured whole."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

AIM = 0.99
"""What a plan that is not measured yet is to take of what it may take."""


@dataclass(frozen=True)
class TimedOn:
    """What times were measured on: the runtime and its version, examples in the batch, threads of the CPU."""

    runtime: str
    version: str
    batch: int
    threads: int

    def __str__(self) -> str:
        """`onnxruntime 1.18 (batch 32, 1 thread)`."""
        threads = f"{self.threads} thread{'s' * (self.threads != 1)}"
        return f"{self.runtime} {self.version} (batch {self.batch}, {threads})"


@dataclass(frozen=True)
class Times:
    """What is known about the times of whole plans.

    plans: of the plans that were measured, the predicted and the measured time, as shares of the dense model's.
    """

    on: TimedOn
    plans: tuple[tuple[float, float], ...] = ()

    def measured(self, predicted: float) -> float:
        """The share of the dense model's time that a plan is expected to take, from the one that tables predict."""
        return interpolated(self.plans, predicted)

    def predicted(self, measured: float) -> float:
        """What tables predict for a plan that is expected to take a share of the dense model's time."""
        return interpolated([(taken, predicted) for predicted, taken in self.plans], measured)


def interpolated(pairs: Iterable[tuple[float, float]], at: float) -> float:
    """The second number of a pair whose first one is `at`.

    Between the nearest pairs it is linear. Otherwise it lies on the line through the nearest pair and (1, 1), the dense
    model, at which prediction and measurement agree. Without pairs it is `at`.
    """
    known = [*pairs]
    if not known:
        return at
    below = max((pair for pair in known if pair[0] <= at), key=_first, default=None)
    above = min((pair for pair in known if pair[0] > at), key=_first, default=None)
    if below is not None and above is not None and above[1] > below[1]:
        share = (at - below[0]) / (above[0] - below[0])
        return below[1] + share * (above[1] - below[1])
    nearest = min(known, key=lambda pair: abs(pair[0] - at))
    slope = (1 - nearest[1]) / max(1 - nearest[0], 1e-3)
    return 1 - (1 - at) * slope


def _first(pair: tuple[float, float]) -> float:
    return pair[0]
