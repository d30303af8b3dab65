"""`ranksearch export`, and what commands print about exported files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ranksearch.cli.console import ConsoleReporter, logging_to
from ranksearch.cli.endings import FAILURE
from ranksearch.cli.paths import shown
from ranksearch.errors import InputError
from ranksearch.exporting import exporters
from ranksearch.files import check_no_links
from ranksearch.folders import LOCK, locked

if TYPE_CHECKING:
    from ranksearch.runs import Exports

FOLDERS = ("compressed", "compressed/*", LOCK)


def export_command(path: Path, to: Sequence[str], model: str | None, *, trust: bool, quiet: bool) -> None:
    """Export everything that was delivered in a folder; exit code 1 at the end where a format failed."""
    reporter = ConsoleReporter(quiet=quiet)
    try:
        wanted = exporters(name.strip() for part in to for name in part.split(",") if name.strip())
    except InputError as error:
        raise InputError(re.sub(r"^export\b(?! )", "--to", str(error))) from error

    from ranksearch.runs import delivered_in, export_delivered

    folders = delivered_in(path)
    check_no_links(path, FOLDERS)
    with locked(path), logging_to(None, reporter):
        exports = [export_delivered(folder, wanted, model=model, trust=trust) for folder in folders]
        print_exports(exports, reporter)
    if any(found.failed for found in exports):
        raise typer.Exit(FAILURE)


def print_exports(exports: Sequence[Exports], reporter: ConsoleReporter) -> None:
    """Where exported files are, how exact they are, and how they are run by those who have no ranksearch."""
    from ranksearch.runs import usages

    for found in exports:
        for record in found.records:
            exact = f"outputs differ by {record.difference:.1g} of the largest"
            reporter.result(f"{'exported':<16}  {shown(found.folder / record.file)} ({exact})")
    for text in usages(exports, shown):
        reporter.line(f"{'run it':<16}  {text}")
