"""`ranksearch doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import typer

from ranksearch.cli.endings import USER_MISTAKE
from ranksearch.cli.flags import in_flags, with_flags
from ranksearch.cli.machine import Answer
from ranksearch.cli.text import labelled, output_console

LABELS = {True: ("ok", "green"), False: ("failed", "bold red"), None: ("not checked", "dim")}


def doctor_command(given: Mapping[str, Any], answer: Answer) -> None:
    """Print one line for each check, and fail at the end if one has failed."""
    from ranksearch.runs import checks

    console, found = output_console(), []
    for check in checks(given):
        label, style = LABELS[check.passed]
        text = with_flags(in_flags(check.told))
        console.print(labelled(label, style, f"{check.name}: {text}"), soft_wrap=True)
        found.append(asdict(check) | {"told": text})
    passed = all(check["passed"] is not False for check in found)
    answer.give(passed=passed, checks=found)
    if not passed:
        raise typer.Exit(USER_MISTAKE)
