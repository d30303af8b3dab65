"""The time of a plan that a further plan only predicts, measured before it is delivered."""

from __future__ import annotations

from ranksearch.costs import is_measured
from ranksearch.planning import Network, PlanRecord
from ranksearch.progress import Reporter
from ranksearch.runs.options import RunOptions
from ranksearch.runs.times import time_of
from ranksearch.tasks import Task


def with_measured_time(
    record: PlanRecord, task: Task, network: Network, options: RunOptions, reporter: Reporter
) -> PlanRecord:
    """The record with the time that its plan takes on this machine, where nobody has measured it yet."""
    predicted = record.scores.get("time_predicted")
    if predicted is None or "time" in record.scores:
        return record
    ratio, _ = time_of(record, task, network.layers, options)
    reporter.line(
        f"budget {record.asked}: takes {ratio.median:.3f} ({ratio.low:.3f} to {ratio.high:.3f}) of the dense time, "
        f"predicted {predicted:.3f}"
    )
    cost = {
        metric: round(ratio.median * record.dense[metric]) if is_measured(metric) else amount
        for metric, amount in record.cost.items()
    }
    scores = {"time": ratio.median, "time_low": ratio.low, "time_high": ratio.high}
    return record.model_copy(update={"cost": cost, "scores": record.scores | scores})
