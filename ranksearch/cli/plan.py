"""`ranksearch plan`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ranksearch.cli.console import ConsoleReporter
from ranksearch.cli.machine import Answer
from ranksearch.cli.next_steps import after_plan, print_steps
from ranksearch.cli.paths import shown
from ranksearch.errors import InputError, expected


def plan_command(
    run: Path, given: Mapping[str, Any], answer: Answer, *, front: bool, out: Path | None
) -> None:
    """Make plans for further budgets of a finished run, or the front over all of them."""
    from ranksearch.cli.tables import further_table
    from ranksearch.runs import differs, further_front, further_plans, tables_in

    given = dict(given)
    reporter = ConsoleReporter(quiet=bool(given.pop("quiet", None)))
    record, folder = tables_in(run)
    if front and "budget" in given:
        raise InputError(
            expected("--front", "no budget, for it is the front over all of them", given["budget"])
        )
    if front or "budget" not in given:
        rows, table, picture = further_front(record, given, folder, out)
        reporter.line(
            f"{len(rows)} plans, of which {sum(row.delivered is not None for row in rows)} delivered"
        )
        reporter.result(f"{'table':<8}  {shown(table)}")
        reporter.result(f"{'picture':<8}  {shown(picture)}")
        answer.give(
            table=str(table.absolute()),
            picture=str(picture.absolute()),
            front=[{**asdict(row), "cost": row.cost.amounts, "scores": dict(row.scores)} for row in rows],
        )
        return
    plans = further_plans(record, given, folder, out)
    if (other := differs(record)) and not all(plan.known for plan in plans):
        reporter.line(f"{other}; what is new here are analytic plans")
    if record.times is not None and any("time_predicted" in plan.record.scores for plan in plans):
        measured = f"{len(record.times.plans)} plans of the run that were measured"
        reporter.line(f"times: on {record.times.content().on}, predicted by {measured}")
    reporter.result(further_table(plans))
    for plan in plans:
        there = ", there already" if plan.known else ""
        reporter.result(f"{'plan':<8}  {shown(plan.path)}{there}")
    answer.give(
        plans=[
            {
                "budget": plan.record.asked,
                "plan": str(plan.path.absolute()),
                "known": plan.known,
                "cost": dict(plan.record.cost),
                "dense": dict(plan.record.dense),
                "error": plan.record.scores.get("error"),
            }
            for plan in plans
        ]
    )
    print_steps(after_plan(plans), reporter.line)
