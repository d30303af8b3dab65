"""`ranksearch show`."""

from __future__ import annotations

import shlex
from pathlib import Path

from ranksearch.cli.text import output_console
from ranksearch.errors import InputError, expected

PROBE = "probe.json"


def show_command(path: Path, *, every: bool) -> None:
    """Print the plan, the front or the verdict of a probe that lies at a path."""
    from ranksearch.cli.tables import front_view, plan_view
    from ranksearch.compression import PLAN_FILE
    from ranksearch.planning import read_plan
    from ranksearch.runs import RunFolder
    from ranksearch.searching import read_front

    console = output_console()
    folder = RunFolder(path)
    if path.is_file() and path.name == folder.front.name:
        console.print(front_view(read_front(path), every=every))
    elif (record := _probe(path)).is_file():
        from ranksearch.cli.verdict import verdict_view
        from ranksearch.probing import read_probe

        console.print(verdict_view(read_probe(record)))
    elif path.is_file():
        console.print(plan_view(read_plan(path)))
    elif folder.front.is_file():
        console.print(front_view(read_front(folder.front), every=every))
        for plan in folder.plans():
            console.print(f"ranksearch show {shlex.quote(str(plan))}", soft_wrap=True)
    elif (path / PLAN_FILE).is_file():
        console.print(plan_view(read_plan(path / PLAN_FILE)))
    else:
        got = f"{path}, which holds neither" if path.is_dir() else f"{path}, which is not there"
        way_out = "A run that is not finished has no front yet: ranksearch run --resume --out DIR."
        raise InputError(
            expected(
                "PATH",
                "a plan file, or a folder with front.json, plan.json or probe.json",
                got,
                way_out if path.is_dir() else "",
            )
        )


def _probe(path: Path) -> Path:
    """Where the verdict of a probe lies, if it is one's file or folder."""
    return path if path.name == PROBE else path / PROBE
