"""The objectives, by name, from the cheapest to the most expensive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranksearch.registry import Registry

if TYPE_CHECKING:
    from ranksearch.objectives.base import Objective
    from ranksearch.objectives.scoring import Scoring


def _is_one(thing: Any) -> bool:
    from ranksearch.objectives.base import Objective

    return isinstance(thing, type) and issubclass(thing, Objective)


OBJECTIVES: Registry[type[Objective]] = Registry(
    "objective", "ranksearch.objectives", _is_one, "a subclass of Objective", instances=False
)

_HERE = "ranksearch.objectives"
OBJECTIVES.offer(
    "reconstruction", f"{_HERE}.reconstruction:Reconstruction", "the analytic error; no image is looked at"
)
OBJECTIVES.offer("divergence", f"{_HERE}.divergence:Divergence", "quick fits, scored on held-out images")
OBJECTIVES.offer("ordered", f"{_HERE}.ordered:Ordered", "the same, fitted in order; a little slower")
OBJECTIVES.offer(
    "refitted",
    f"{_HERE}.refitted:Refitted",
    "fitted as they would be delivered; expensive, and the only one known to rank plans well",
)
OBJECTIVES.offer("finetune", f"{_HERE}.finetune:Finetune", "the same, and then a short fine-tuning")

ERROR = "error"
"""The score that every plan has: the sum of ε."""


def make_objective(name: str, scoring: Scoring) -> Objective:
    """The objective of that name for one problem."""
    return OBJECTIVES.get(name)(scoring)


def scores_by_price(names: Any) -> list[str]:
    """The names that are scores of plans, from the cheapest to the most expensive: ε, then objectives by price."""
    known = sorted(
        (name for name in names if OBJECTIVES.find(name) is not None),
        key=lambda name: OBJECTIVES.get(name).price,
    )
    return [ERROR] * (ERROR in names) + [name for name in known if name != "reconstruction"]


def score_label(name: str) -> str:
    """The name of a score in a sentence or a column header."""
    if name == ERROR:
        return "ε"
    found = OBJECTIVES.find(name)
    return (found.label if found is not None else "") or name
