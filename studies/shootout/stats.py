"""Paired differences of accuracies over the same test images, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

Z95 = 1.959964


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
    one seed). Normal approximation.
    """
    seeds = sorted(set(other) & set(reference))
    if not seeds:
        return None
    d = 100 * np.stack([other[s].astype(float) - reference[s].astype(float) for s in seeds])
    variance = float(d.mean(axis=0).var(ddof=1)) / d.shape[1]
    if len(seeds) > 1:
        variance += float(d.mean(axis=1).var(ddof=1)) / len(seeds)
    return Difference(float(d.mean()), Z95 * sqrt(variance), len(seeds))
