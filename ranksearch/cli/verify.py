"""`ranksearch verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ranksearch.cli.endings import USER_MISTAKE
from ranksearch.cli.flags import with_flags
from ranksearch.cli.guard import print_error
from ranksearch.cli.paths import shown
from ranksearch.cli.text import output_console
from ranksearch.errors import RankSearchError


def verify_command(paths: Sequence[Path], given: Mapping[str, Any]) -> None:
    """Check everything that was delivered in some folders, and fail at the end if something differs.

    given: options to measure with, by name.
    """
    from ranksearch.runs import delivered_in, verify_delivered

    console, failed = output_console(), False
    for folder in (folder for path in paths for folder in delivered_in(path)):
        try:
            console.print(
                f"{shown(folder)}: {with_flags(str(verify_delivered(folder, given)))}", soft_wrap=True
            )
        except RankSearchError as error:
            failed = True
            print_error(str(error))
    if failed:
        raise typer.Exit(USER_MISTAKE)
