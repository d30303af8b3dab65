"""`ranksearch run`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ranksearch.cli.console import ConsoleReporter, logging_to
from ranksearch.cli.export import print_exports
from ranksearch.cli.guard import resumable
from ranksearch.cli.paths import shown
from ranksearch.runs import RunFolder, load_options, needs_trust, open_run, write_toml

log = logging.getLogger("ranksearch")


def run_command(config: Path | None, given: Mapping[str, Any]) -> None:
    """Carry out a run, from options to a table of results."""
    options = load_options(given, config)
    reporter = ConsoleReporter(quiet=options.quiet)
    with (
        open_run(options) as folder,
        resumable("run", folder.path, trust=needs_trust(options)),
        logging_to(folder.log, reporter, verbose=options.verbose),
    ):
        log.debug("options:\n%s", write_toml(options))
        reporter.line(f"run folder: {shown(folder.path)}")
        started = time.monotonic()
        with reporter.live():
            from ranksearch.cli.tables import results_table
            from ranksearch.runs import run_pipeline

            report = run_pipeline(options, folder, reporter)
        reporter.result(results_table(report))
        _where(folder, reporter, [kept.name for kept in options.budget])
        print_exports([delivered.exports for delivered in report.delivered], reporter)
        reporter.line(f"done in {time.monotonic() - started:.0f} s")


def _where(folder: RunFolder, reporter: ConsoleReporter, budgets: Sequence[str]) -> None:
    places = [("plan", folder.plan(b)) for b in budgets]
    places += [("compressed model", folder.compressed(b)) for b in budgets]
    places += [("front", folder.front), ("trials", folder.trials), ("log", folder.log)]
    for what, path in places:
        reporter.result(f"{what:<16}  {shown(path)}")
