"""Paired differences of accuracies over the same test images, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student


@dataclass(frozen=True)
class Difference:
    """In points of accuracy; the interval is mean ± half."""

    mean: float
    half: float
    seeds: int

    def __str__(self) -> str:
        return f"{self.mean:+.2f} ± {self.half:.2f}"


def paired(
    other: Mapping[int, NDArray[np.bool_]], reference: Mapping[int, NDArray[np.bool_]]
) -> Difference | None:
    """other − reference, by seed the correctness per image, (N,) in the same order; None without a common seed.

    Two sources of chance are added: the images, by the variance over images of the difference averaged over
    seeds, and the seeds, by the variance over seeds of the difference averaged over images (none of it with
    one seed). Student's t with the degrees of freedom of Welch and Satterthwaite, since seeds are few.
    """
    seeds = sorted(set(other) & set(reference))
    if not seeds:
        return None
    d = 100 * np.stack([other[s].astype(float) - reference[s].astype(float) for s in seeds])
    parts = [(float(d.mean(axis=0).var(ddof=1)) / d.shape[1], d.shape[1] - 1)]
    if len(seeds) > 1:
        parts.append((float(d.mean(axis=1).var(ddof=1)) / len(seeds), len(seeds) - 1))
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Difference(float(d.mean()), 0.0, len(seeds))
    freedom = variance**2 / sum(part**2 / count for part, count in parts)
    return Difference(float(d.mean()), float(student.ppf(0.975, freedom)) * sqrt(variance), len(seeds))
