"""`ranksearch verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from ranksearch.cli.endings import USER_MISTAKE
from ranksearch.cli.guard import print_error
from ranksearch.cli.paths import shown
from ranksearch.cli.text import output_console
from ranksearch.errors import RankSearchError


def verify_command(paths: Sequence[Path]) -> None:
    """Check everything that was delivered in some folders, and fail at the end if something differs."""
    from ranksearch.runs import delivered_in, verify_delivered

    console, failed = output_console(), False
    for folder in (folder for path in paths for folder in delivered_in(path)):
        try:
            console.print(f"{shown(folder)}: {verify_delivered(folder)}", soft_wrap=True)
        except RankSearchError as error:
            failed = True
            print_error(str(error))
    if failed:
        raise typer.Exit(USER_MISTAKE)
