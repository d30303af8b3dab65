"""`ranksearch export` of a plan file: to what other compressors read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranksearch.cli.console import ConsoleReporter
from ranksearch.cli.machine import Answer
from ranksearch.cli.paths import shown
from ranksearch.errors import InputError, expected
from ranksearch.exporting import EXPORTERS
from ranksearch.interchange import PLAN_EXPORTERS


def export_plan_command(path: Path, names: Sequence[str], reporter: ConsoleReporter, answer: Answer) -> None:
    """Write a plan file in the formats of other compressors, beside it, and print what a format cannot express."""
    if not names:
        wanted = f"what to write the plan for: {', '.join(PLAN_EXPORTERS.names())}"
        raise InputError(expected("to", wanted, "none"))
    of_models = next((name for name in names if name in EXPORTERS and name not in PLAN_EXPORTERS), None)
    if of_models is not None:
        wanted, got = " or ".join(PLAN_EXPORTERS.names()), f"{of_models}, a format of models"
        raise InputError(expected("to", wanted, got, "Export the folder of a run, or of a compressed model."))
    exporters = [PLAN_EXPORTERS.resolve(name) for name in dict.fromkeys(names)]

    from ranksearch.interchange import export_plan_file, plan_path
    from ranksearch.planning import read_plan

    plan = read_plan(path)
    files: list[dict[str, Any]] = []
    for exporter in exporters:
        out = plan_path(path, exporter)
        found = export_plan_file(plan, exporter, out)
        files.append(
            {
                "format": exporter.name,
                "file": str(out.absolute()),
                "params": found.total,
                "left_out": {left.layer: left.reason for left in found.left_out},
                "left_float": list(found.int8),
            }
        )
        factorised = len(found.ranks) + len(found.left_out)
        told = f"{len(found.ranks)} of {factorised} factorised layers, {found.total:,} parameters"
        reporter.result(f"{exporter.name:<16}  {shown(out)} ({told}, {plan.cost['params']:,} in the plan)")
        for left in found.left_out:
            reporter.result(f"{'left dense':<16}  {left.layer}: {left.planned}, {left.reason}")
        if found.int8:
            told = f"{len(found.int8)} layers that the plan has in int8: ranks alone are written"
            reporter.result(f"{'left float':<16}  {told}")
        if found.left_out and exporter.decompositions:
            fitting = ",".join(exporter.decompositions)
            reporter.line(f"{'to express more':<16}  ranksearch run --decompositions {fitting}")
        reporter.line(f"{'carry it out':<16}  in Python, where model is the dense model:")
        reporter.line("")
        for text in exporter.usage(shown(out)).splitlines():
            reporter.line(f"    {text}".rstrip())
        reporter.line("")
    answer.give(plan=str(path.absolute()), exports=files)
