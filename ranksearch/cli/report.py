"""`ranksearch report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranksearch.cli.machine import Answer
from ranksearch.cli.paths import shown
from ranksearch.cli.text import output_console


def report_command(runs: Sequence[Path], out: Path | None, language: str, answer: Answer) -> None:
    """Write the page of a run or probe, or of several runs, and print where it is."""
    from ranksearch.reports import write_report

    page = write_report(runs, out, language)
    output_console().print(f"report  {shown(page)}", soft_wrap=True)
    answer.give(report=str(page.absolute()))
