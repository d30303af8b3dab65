"""`ranksearch report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranksearch.cli.paths import shown
from ranksearch.cli.text import output_console


def report_command(runs: Sequence[Path], out: Path | None, language: str) -> None:
    """Write the page of a run or probe, or of several runs, and print where it is."""
    from ranksearch.reports import write_report

    output_console().print(f"report  {shown(write_report(runs, out, language))}", soft_wrap=True)
