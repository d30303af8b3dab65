"""`ranksearch compress`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ranksearch.cli.console import ConsoleReporter, logging_to
from ranksearch.cli.export import end_by, print_exports
from ranksearch.cli.guard import going_on
from ranksearch.cli.machine import Answer
from ranksearch.cli.next_steps import after_compress, print_steps
from ranksearch.cli.paths import shown
from ranksearch.cli.run import end_by_promises, print_behaviour, print_closing, report_summary
from ranksearch.errors import InputError, expected
from ranksearch.files import check_no_links
from ranksearch.folders import LOCK, TRAINING, locked, make_folder, usable
from ranksearch.runs import RunOptions, load_options

if TYPE_CHECKING:
    from ranksearch.interchange import AimetScores, ImportedRanks
    from ranksearch.planning import PlanRecord

LOG = "log.txt"


def compress_command(
    plan: Path | None,
    config: Path | None,
    given: Mapping[str, Any],
    answer: Answer,
    ranks: Path | None = None,
    decomposition: str | None = None,
) -> None:
    """Carry out the plan of a file on the model of its run, or on the one that the options name; or ranks of a file."""
    source: PlanRecord | ImportedRanks | AimetScores
    if ranks is None:
        if plan is None:
            raise InputError(expected("PLAN", "a plan file, or --ranks FILE", "none"))
        source, options = _from_plan(plan, config, given, decomposition)
    elif plan is not None:
        raise InputError(expected("--ranks", "either a plan file or ranks", f"{plan} and {ranks}"))
    else:
        source, options = _from_ranks(ranks, config, given, decomposition)
    file = plan or ranks
    assert file is not None
    out = options.out or file.with_name(f"{file.stem}-compressed").absolute()
    with usable(out):
        check_no_links(out, (LOG, LOCK, TRAINING, f"{TRAINING}/*"))
        used = _used(out)
    if used:
        raise InputError(expected("--out", "a new or empty folder", str(out), "Choose another one."))
    make_folder(out)
    reporter = ConsoleReporter(quiet=options.quiet)
    with (
        locked(out),
        going_on("the same command", holds=lambda: not _used(out)),
        logging_to(out / LOG, reporter, verbose=options.verbose),
    ):
        from ranksearch.cli.models import results_table
        from ranksearch.runs import compress_pipeline

        with reporter.live():
            report = compress_pipeline(source, options, out, reporter)
        reporter.result(results_table(report))
        print_behaviour(report, reporter)
        reporter.result(f"{'compressed model':<16}  {shown(out)}")
        exports = [found.exports for found in report.chosen]
        print_exports(exports, reporter)
        answer.give(**report_summary(report))
        print_closing([report.chosen[0].record], reporter)
        print_steps(after_compress(options, out, report.chosen[0].record), reporter.line)
    end_by_promises(report)
    end_by(exports)


def _used(out: Path) -> bool:
    """Whether there is more than what the same command leaves behind when it is interrupted before it delivers."""
    begun = (LOG, LOCK, TRAINING)
    return out.exists() and (not out.is_dir() or any(p.name not in begun for p in out.iterdir()))


def _from_plan(
    plan: Path, config: Path | None, given: Mapping[str, Any], decomposition: str | None
) -> tuple[PlanRecord, RunOptions]:
    """A plan file, and the options of its run under those of a file and of the command line."""
    from ranksearch.planning import read_plan

    only = {"decomposition": decomposition, **{name: given.get(name) for name in ("budget", "metric")}}
    for name, value in only.items():
        if value is not None:
            raise InputError(expected(f"--{name}", "--ranks, without which it has no effect", "a plan file"))
    record = read_plan(plan)
    return record, plan_options(record, config, given, plan)


def _from_ranks(
    ranks: Path, config: Path | None, given: Mapping[str, Any], decomposition: str | None
) -> tuple[ImportedRanks | AimetScores, RunOptions]:
    """Ranks from elsewhere, and the options of a file and of the command line."""
    from ranksearch.decompositions import DECOMPOSITIONS
    from ranksearch.interchange import DEFAULT, AimetScores, read_ranks

    options = load_options(given, config)
    try:
        name = DEFAULT if decomposition is None else DECOMPOSITIONS.resolve(decomposition).name
    except InputError as error:
        raise InputError(f"--decomposition{str(error).removeprefix('decompositions')}") from error
    found = read_ranks(ranks, name)
    if isinstance(found, AimetScores) or "budget" in given:
        return found, options
    # A file of options for runs has one, which ranks have no use for.
    return found, options.model_copy(update={"budget": ()})


def plan_options(record: PlanRecord, config: Path | None, given: Mapping[str, Any], plan: Path) -> RunOptions:
    """Options of the run that made the plan, under those of a file and of the command line."""
    known = {key: value for key, value in record.options.items() if key in RunOptions.model_fields}
    return load_options(given, config, under=known, under_name=plan.name)
