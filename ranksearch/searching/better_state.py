"""The finalists after their short fine-tune, each by the better of its two states, before and after.

Delivery keeps the result of training only if it lowers the divergence. A plan that the short fine-tune has harmed is
therefore worth what it was before.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ranksearch.costs import Budget
from ranksearch.searching.front import Evaluated
from ranksearch.searching.job import ranking

log = logging.getLogger(__name__)

BEFORE = "before"
"""The score of a plan before the fine-tune, beside the one after it."""


def by_better_state(records: Iterable[Evaluated], stage: str, budget: Budget) -> list[Evaluated]:
    """Complete records of a stage, the best first; equal ones in their order. A warning says where training harmed."""
    ranked = ranking(records, stage)
    harmed = [found for found in ranked if found.scores[stage] > found.scores.get(BEFORE, float("inf"))]
    if not harmed:
        return ranked
    worst = max(harmed, key=lambda found: found.scores[stage] / max(found.scores[BEFORE], 1e-300))
    log.warning(
        "budget %s: the short fine-tune raised the divergence of %d of %d plans, at worst from %.3g to %.3g. They are "
        "compared by what they were before it. Try a lower `lr` or more `finetune_steps`.",
        budget.name,
        len(harmed),
        len(ranked),
        worst.scores[BEFORE],
        worst.scores[stage],
    )
    return sorted(ranked, key=lambda found: min(found.scores[stage], found.scores.get(BEFORE, float("inf"))))
