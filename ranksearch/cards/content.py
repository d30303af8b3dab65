"""What a card is made of, and words that several of its parts need."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from ranksearch.costs import COSTS, unit_of
from ranksearch.exporting import ExportRecord
from ranksearch.planning import DeliveryRecord, PlanRecord
from ranksearch.redaction import without_folders

ROLES = ("validation", "test")
"""Parts of the data that models are evaluated on."""


@dataclass(frozen=True)
class Content:
    """A delivered model: its plan, the exported files that are there, and whether the folder has the config of a
    transformers model, its `architecture`."""

    record: PlanRecord
    exports: tuple[ExportRecord, ...] = ()
    architecture: bool = False

    @property
    def delivery(self) -> DeliveryRecord | None:
        return self.record.delivery

    @property
    def model(self) -> str:
        """What the dense model is called, without the place of its file."""
        name = self.record.model.name
        return "a model handed in" if name is None else without_folders(name)

    @property
    def kept(self) -> str:
        """`20.0 % of its parameters`, in the cost metric of the budget."""
        metric = self.record.metric
        found = COSTS.find(metric)
        what = metric if found is not None and found.base else unit_of(metric)
        return f"{share(self.record.cost[metric], self.record.dense[metric])} of its {what}"

    @property
    def roles(self) -> tuple[str, ...]:
        """Those parts of the data on which there is a score of the compressed model."""
        return tuple(role for role in ROLES if self.record.scores.get(role) is not None)


def share(part: int, whole: int) -> str:
    """`20.0 %`, and `–` of nothing."""
    return f"{part / whole:.1%}".replace("%", " %") if whole else "–"


def estimate(mean: float | None, stderr: float | None) -> str:
    """`87.99 ± 0.33`, as far as it is known."""
    if mean is None or not isfinite(mean):
        return "–"
    return f"{mean:.2f} ± {stderr:.2f}" if stderr is not None else f"{mean:.2f}"
