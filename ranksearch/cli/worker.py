"""`ranksearch worker`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksearch.cli.console import ConsoleReporter, logging_to


def worker_command(run: Path | None, given: Mapping[str, Any]) -> None:
    """Join a search, and run its trials until it has ended."""
    reporter = ConsoleReporter(quiet=given.get("quiet") is True)
    with logging_to(None, reporter, verbose=given.get("verbose") is True):
        reporter.line("looking for the search …")
        with reporter.live():
            from ranksearch.runs import find_search, worker_pipeline

            joining = find_search(given, run)
            reporter.line(f"joined: {joining.options.study_name}, loading the model …")
            count = worker_pipeline(joining, reporter)
        reporter.line(f"the search has ended: {count} trials were run here")
