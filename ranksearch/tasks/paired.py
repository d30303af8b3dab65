"""The difference of two models' scores, example by example, and how far it can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite, sqrt

from torch import Tensor

INTERVAL = 0.95
"""Confidence of two-sided intervals that are shown."""


@dataclass(frozen=True)
class Drop:
    """What a model loses against another one on the same examples, in units of the task metric.

    mean, stderr, count: of the differences. step: what one example can lose or gain, where the differences are −step, 0
    and step alone, as those of an accuracy are; 0 for other metrics. lost, gained: how many examples do, with a step.
    """

    mean: float
    stderr: float
    count: int
    step: float = 0.0
    lost: int = 0
    gained: int = 0

    @classmethod
    def of(cls, before: Tensor, after: Tensor) -> Drop:
        """From the scores of the same examples by both models.

        before: An (N,) tensor, such as the dense model's.
        after: An (N,) tensor.
        """
        before, after = before.double(), after.double()
        apart = before - after
        n = len(apart)
        stderr = float(apart.std()) / sqrt(n) if n > 1 else 0.0
        sizes = apart.abs().unique()
        sizes = sizes[sizes > 0]
        # Where nothing differs, a single example may still lose as much as the largest score.
        step = float(sizes[0]) if len(sizes) == 1 else 0.0 if len(sizes) else float(before.abs().max())
        if not step or not isfinite(step):
            return cls(float(apart.mean()), stderr, n)
        return cls(float(apart.mean()), stderr, n, step, int((apart > 0).sum()), int((apart < 0).sum()))

    def upper(self, confidence: float) -> float:
        """The upper end of a one-sided confidence interval; infinite where the examples do not tell."""
        if self.step:
            from scipy.stats import (
                norm,
            )  # takes two thirds of a second, which most commands need not wait for

            return self.step * _score_limit(self.lost, self.gained, self.count, float(norm.ppf(confidence)))
        if self.count < 2 or not isfinite(self.mean):
            return float("inf")
        from scipy.stats import t as student

        return self.mean + float(student.ppf(confidence, self.count - 1)) * self.stderr

    def interval(self, confidence: float = INTERVAL) -> tuple[float, float]:
        """A two-sided confidence interval."""
        one_sided = (1 + confidence) / 2
        swapped = Drop(-self.mean, self.stderr, self.count, self.step, self.gained, self.lost)
        return -swapped.upper(one_sided), self.upper(one_sided)


def least_upper(count: int, step: float, confidence: float) -> float:
    """The least upper end that so many examples can show: where none of them loses or gains anything."""
    return Drop(0.0, 0.0, count, step).upper(confidence)


def _score_limit(lost: int, gained: int, count: int, z: float) -> float:
    """The upper score limit of a difference of paired proportions (Tango 1998, Statistics in Medicine 17, 891–908).

    It inverts a test whose variance is that under the tested difference, so that it does not collapse to the
    estimate where no pair is discordant, as the limit from the standard error does.
    """
    share = (lost - gained) / count

    from scipy.optimize import brentq

    def statistic(difference: float) -> float:
        b = (2 * count - lost + gained) * difference - lost - gained
        root = sqrt(max(0.0, b * b + 8 * count * gained * difference * (1 - difference)))
        other = (root - b) / (4 * count)  # the restricted estimate of the smaller proportion
        variance = count * (2 * other + difference * (1 - difference))
        return (lost - gained - count * difference) / sqrt(variance) + z if variance > 0 else z

    nearly = 1 - 1e-12
    if share >= nearly or statistic(nearly) > 0:
        return 1.0
    return float(brentq(statistic, share, nearly, xtol=1e-12))
