"""What was measured of delivered models, before → after, written back to front.json and the plan files of a run."""

from __future__ import annotations

from collections.abc import Iterable

from ranksearch.planning import PlanRecord, read_plan, write_plan
from ranksearch.runs.run_folder import RunFolder
from ranksearch.searching import read_front, write_front


def record_measured(folder: RunFolder, delivered: Iterable[PlanRecord]) -> None:
    """Add the task metric of the dense and of each delivered model to front.json and to the plan files.

    Costs, ranks and the scores of the search stay as they are. What was not measured, for want of labels, is not there.
    """
    front, plans = read_front(folder.front), {record.asked: record for record in delivered}
    told = [record for record in plans.values() if record.behaviour]
    if not told:
        return
    metric = next(iter(told[0].behaviour.values())).metric
    dense = {role: found.of_dense for record in told for role, found in record.behaviour.items()}
    entries = tuple(
        entry.model_copy(
            update={"delivered": {r: x.of_delivered for r, x in plans[entry.asked].behaviour.items()}}
        )
        if entry.chosen and entry.asked in plans
        else entry
        for entry in front.plans
    )
    changes = {"task_metric": metric, "dense_measured": dense, "plans": entries}
    write_front(folder.front, front.model_copy(update=changes))
    for record in told:
        path = folder.plan(record.asked)
        write_plan(path, read_plan(path).model_copy(update={"behaviour": record.behaviour}))
