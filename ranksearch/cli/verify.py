"""`ranksearch verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ranksearch.cli.endings import USER_MISTAKE
from ranksearch.cli.flags import in_flags, with_flags
from ranksearch.cli.guard import print_error
from ranksearch.cli.machine import Answer
from ranksearch.cli.paths import shown
from ranksearch.cli.text import output_console
from ranksearch.errors import RankSearchError


def verify_command(paths: Sequence[Path], given: Mapping[str, Any], answer: Answer) -> None:
    """Check everything that was delivered in some folders, and fail at the end if something differs.

    given: options to measure with, by name.
    """
    from ranksearch.runs import delivered_in, verify_delivered

    console, models = output_console(), []
    for folder in (folder for path in paths for folder in delivered_in(path)):
        about: dict[str, Any] = {
            "folder": str(folder.absolute()),
            "error": None,
            "checked": [],
            "unchecked": [],
        }
        try:
            found = verify_delivered(folder, given)
        except RankSearchError as error:
            print_error(str(error))
            about["error"] = in_flags(str(error))
        else:
            console.print(f"{shown(folder)}: passed. {with_flags(str(found))}", soft_wrap=True)
            about |= {"checked": [*found.checked], "unchecked": [*map(with_flags, found.unchecked)]}
        models.append(about)
    passed = all(about["error"] is None for about in models)
    answer.give(passed=passed, models=models)
    if not passed:
        raise typer.Exit(USER_MISTAKE)
