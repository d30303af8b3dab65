"""`ranksearch compress`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranksearch.cli.console import ConsoleReporter, logging_to
from ranksearch.cli.export import end_by, print_exports
from ranksearch.cli.machine import Answer
from ranksearch.cli.next_steps import after_compress, print_steps
from ranksearch.cli.paths import shown
from ranksearch.cli.run import end_by_promises, print_behaviour, report_summary
from ranksearch.errors import InputError, expected
from ranksearch.files import check_no_links
from ranksearch.folders import LOCK, locked, make_folder, usable
from ranksearch.runs import RunOptions, load_options

if TYPE_CHECKING:
    from ranksearch.planning import PlanRecord

LOG = "log.txt"


def compress_command(plan: Path, config: Path | None, given: Mapping[str, Any], answer: Answer) -> None:
    """Carry out the plan of a file on the model of its run, or on the one that the options name."""
    from ranksearch.planning import read_plan

    record = read_plan(plan)
    options = plan_options(record, config, given, plan)
    out = options.out or plan.with_name(f"{plan.stem}-compressed").absolute()
    with usable(out):
        check_no_links(out, (LOG, LOCK))
        used = out.exists() and (not out.is_dir() or any(p.name not in (LOG, LOCK) for p in out.iterdir()))
    if used:
        raise InputError(expected("--out", "a new or empty folder", str(out), "Choose another one."))
    make_folder(out)
    reporter = ConsoleReporter(quiet=options.quiet)
    with locked(out), logging_to(out / LOG, reporter, verbose=options.verbose):
        from ranksearch.cli.models import results_table
        from ranksearch.runs import compress_pipeline

        with reporter.live():
            report = compress_pipeline(record, options, out, reporter)
        reporter.result(results_table(report))
        print_behaviour(report, reporter)
        reporter.result(f"{'compressed model':<16}  {shown(out)}")
        exports = [found.exports for found in report.chosen]
        print_exports(exports, reporter)
        answer.give(**report_summary(report))
        print_steps(after_compress(options, out, report.chosen[0].record), reporter.line)
    end_by_promises(report)
    end_by(exports)


def plan_options(record: PlanRecord, config: Path | None, given: Mapping[str, Any], plan: Path) -> RunOptions:
    """Options of the run that made the plan, under those of a file and of the command line."""
    known = {key: value for key, value in record.options.items() if key in RunOptions.model_fields}
    return load_options(given, config, under=known, under_name=plan.name)
