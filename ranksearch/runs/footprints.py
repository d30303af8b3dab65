"""What delivered models take, measured once and kept in their own plan.json.

Not in the plan files of the run: those are the same each time, and times are not.
"""

from __future__ import annotations

from ranksearch.compression import load_compressed
from ranksearch.planning import Gauge, to_plan
from ranksearch.runs.evaluation import Saved, rewritten


def with_footprint(gauge: Gauge, saved: Saved) -> Saved:
    """A saved model whose record says what it takes, written again unless that was known."""
    if saved.record.footprint is not None:
        return saved
    model = load_compressed(saved.folder, saved.record, gauge.task.model)
    return rewritten(saved, {"footprint": gauge.footprint(model, to_plan(saved.record))})
