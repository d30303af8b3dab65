"""`ranksearch run`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ranksearch.cli.console import ConsoleReporter, logging_to
from ranksearch.cli.endings import NOT_KEPT
from ranksearch.cli.export import end_by, print_exports
from ranksearch.cli.guard import print_error, resumable
from ranksearch.cli.machine import Answer
from ranksearch.cli.next_steps import after_run, print_steps
from ranksearch.cli.paths import shown
from ranksearch.errors import RankSearchError, told
from ranksearch.runs import RunFolder, load_options, needs_trust, open_run, write_toml

if TYPE_CHECKING:
    from ranksearch.planning import PlanRecord
    from ranksearch.runs import RunReport

log = logging.getLogger("ranksearch")


def run_command(config: Path | None, given: Mapping[str, Any], answer: Answer | None = None) -> None:
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
        reporter.line("loading PyTorch …")
        with reporter.live():
            from ranksearch.cli.models import results_table
            from ranksearch.runs import run_pipeline

            report = run_pipeline(options, folder, reporter)
        reporter.result(results_table(report))
        print_behaviour(report, reporter)
        report_written(folder.path, reporter)
        _where(folder, reporter, [found.record.asked for found in report.chosen])
        exports = [found.exports for found in report.chosen]
        print_exports(exports, reporter)
        print_closing([found.record for found in report.chosen], reporter)
        print_steps(after_run(options, folder.path, [x.record for x in report.chosen]), reporter.line)
        (answer or Answer()).give(**report_summary(report), run=str(folder.path.absolute()))
        reporter.line(f"done in {time.monotonic() - started:.0f} s")
    end_by_promises(report)
    end_by(exports)


def report_summary(report: RunReport) -> dict[str, Any]:
    """What a run or a plan that was carried out came to, for a program."""
    from ranksearch.runs import model_summary, models_summary

    chosen = {found.folder for found in report.chosen}
    models = [
        model_summary(
            found.record,
            folder=found.folder,
            plan=found.plan_file,
            chosen=found.folder in chosen,
            exports=found.exports.records,
        )
        for found in report.delivered
    ]
    return models_summary(models, [found.record for found in report.delivered]) | {"passed": report.passed}


def print_closing(records: Sequence[PlanRecord], reporter: ConsoleReporter) -> None:
    """Before → after, and where."""
    from ranksearch.cli.closing import closing_lines

    reporter.line("before → after")
    for line in closing_lines(records):
        reporter.line(line)


def print_behaviour(report: RunReport, reporter: ConsoleReporter) -> None:
    """How the delivered models behave, and what of a promise and of criteria is met."""
    from ranksearch.cli.behaviour import behaviour_lines

    for found in report.chosen:
        for line in behaviour_lines(found.record):
            reporter.result(line)


def end_by_promises(report: RunReport) -> None:
    """Exit code 3, with one line, where a promise is not kept or a criterion not met."""
    if report.passed:
        return
    from ranksearch.cli.behaviour import failure

    print_error(failure([found.record for found in report.chosen]))
    raise typer.Exit(NOT_KEPT)


def report_written(folder: Path, reporter: ConsoleReporter) -> None:
    """Write the page of a run or a probe, and say where it is. Without one a run is no worse."""
    from ranksearch.reports import write_report

    try:
        page = write_report([folder])
    except (RankSearchError, OSError) as error:
        log.warning("the report could not be written: %s", told(error))
    else:
        reporter.result(f"{'report':<16}  {shown(page)}")


def _where(folder: RunFolder, reporter: ConsoleReporter, budgets: Sequence[str]) -> None:
    places = [("plan", folder.plan(b)) for b in budgets]
    places += [("compressed model", folder.compressed(b)) for b in budgets]
    places += [
        ("front", folder.front),
        ("whole front", folder.front_table.with_suffix(".svg")),
        ("trials", folder.trials),
        ("log", folder.log),
    ]
    for what, path in places:
        reporter.result(f"{what:<16}  {shown(path)}")
