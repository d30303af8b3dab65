"""Time of a forward pass on this machine: of the dense model, and of plans relative to it.

FLOPs say little about the time that many thin layers take, so the time is measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ranksearch.planning import Gauge, Plan
from ranksearch.progress import Ticks, no_ticks
from ranksearch.timing import Conditions, Ratio


@dataclass(frozen=True)
class Speed:
    """conditions: what the times hold for. dense: seconds of a forward pass of the dense model. plans: by budget, their
    times over the dense model's."""

    conditions: Conditions
    dense: float
    plans: Mapping[float, Ratio]


def measure_speed(gauge: Gauge, plans: Mapping[float, Plan], *, progress: Ticks = no_ticks) -> Speed | None:
    """Time some plans, by budget, in turns with the dense model; None, with a warning, where that cannot be done."""
    if gauge.timer is None:
        return None
    found = {}
    for done, (budget, plan) in enumerate(plans.items()):
        progress(done, len(plans))
        if (ratio := gauge.ratio(plan)) is not None:
            found[budget] = ratio
    progress(len(plans), len(plans))
    return Speed(gauge.timer.conditions, gauge.timer.seconds, found)
