"""`ranksearch export`, of models and of plans, and what commands print about exported files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ranksearch.cli.console import ConsoleReporter, logging_to
from ranksearch.cli.endings import FAILURE
from ranksearch.cli.export_plan import export_plan_command
from ranksearch.cli.machine import Answer
from ranksearch.cli.paths import shown
from ranksearch.errors import InputError, expected
from ranksearch.files import check_no_links
from ranksearch.folders import LOCK, locked
from ranksearch.interchange import PLAN_EXPORTERS
from ranksearch.runs import load_options

if TYPE_CHECKING:  # options are checked before torch is loaded
    from ranksearch.exporting import QuantizedRecord
    from ranksearch.runs import Exports

FOLDERS = ("compressed", "compressed/*", LOCK)


def export_command(
    path: Path,
    to: Sequence[str],
    model: str | None,
    *,
    trust: bool,
    quiet: bool,
    quantize: str | None = None,
    tolerance: str | None = None,
    data: str | None = None,
    answer: Answer,
) -> None:
    """Export a plan file, or everything that was delivered in a folder; exit code 1 at the end where a format of a
    model failed."""
    reporter = ConsoleReporter(quiet=quiet)
    names = [name.strip() for part in to for name in part.split(",") if name.strip()]
    if path.is_file():
        of_models = {"model": model, "data": data, "quantize": quantize, "quantize-tolerance": tolerance}
        unused = next((option for option, value in of_models.items() if value is not None), "trust" * trust)
        if unused:
            raise InputError(expected(f"--{unused}", "a folder of delivered models", f"the plan file {path}"))
        export_plan_command(path, names, reporter, answer)
        return
    if not path.exists():
        raise InputError(expected(str(path), "the folder of a compressed model, or of a run", "none"))
    to = names or ["onnx"]
    try:
        from ranksearch.exporting import exporters

        exporters(to)
    except InputError as error:
        of_plans = next((name for name in names if name in PLAN_EXPORTERS), None)
        if of_plans is not None and path.is_dir():
            way_out = f"Name a plan file in it: {of_plans} is a format of plans."
            raise InputError(expected(str(path), "a plan file", "a folder", way_out)) from error
        raise InputError(re.sub(r"^export\b(?! )", "--to", str(error))) from error
    options = load_options({"export": to, "quantize": quantize, "quantize_tolerance": tolerance})
    if data is not None and options.quantize is None:
        raise InputError(expected(f"--data {data}", "`quantize`, without which it has no effect", "none"))

    from ranksearch.runs import (
        delivered_in,
        export_delivered,
        exports_summary,
        quantize_delivered,
        wanted_formats,
    )

    wanted = wanted_formats(options)
    folders = delivered_in(path)
    check_no_links(path, FOLDERS)
    with locked(path), logging_to(None, reporter):
        exports = [export_delivered(folder, wanted, model=model, trust=trust) for folder in folders]
        if options.quantize is not None:
            exports = [
                quantize_delivered(found, model=model, data=data, tolerance=tolerance, trust=trust)
                for found in exports
            ]
        print_exports(exports, reporter)
    answer.give(
        models=[
            {
                "folder": str(found.folder.absolute()),
                "exports": exports_summary(found.records),
                "failed": dict(found.failed),
            }
            for found in exports
        ]
    )
    end_by(exports)


def end_by(exports: Sequence[Exports]) -> None:
    """End the command with exit code 1 where a file that was asked for is not there."""
    if any(found.lacking for found in exports):
        raise typer.Exit(FAILURE)


def print_exports(exports: Sequence[Exports], reporter: ConsoleReporter) -> None:
    """Where exported files are, how exact they are, and how delivered models are run by those who receive them."""
    from ranksearch.runs import snippets

    for found in exports:
        for record in found.records:
            exact = f"outputs differ by {record.difference:.1g} of the largest"
            about = exact if record.quantized is None else describe_quantized(record.quantized)
            reporter.result(f"{'exported':<16}  {shown(found.folder / record.file)} ({about})")
            if record.quantized is not None:
                reporter.result(f"{'':<16}  {describe_worth(record.quantized)}")
    _print_failed(exports, reporter)
    for lines in snippets(exports, shown):
        for place, text in enumerate(lines):
            reporter.line(f"{'' if place else 'run it':<16}  {text}")


def _print_failed(exports: Sequence[Exports], reporter: ConsoleReporter) -> None:
    """What was asked for by folder; of what was only tried one line."""
    for found in exports:
        for name in found.failed if found.asked else ():
            reporter.result(f"{'not exported':<16}  {shown(found.folder)} as {name}, see the warning")
    tried = {name: reason for found in exports if not found.asked for name, reason in found.failed.items()}
    for name, reason in tried.items():
        reporter.line(f"{'not exported':<16}  {name}: the model cannot be exported ({reason})")


def describe_quantized(found: QuantizedRecord) -> str:
    """How far an int8 file is from the float one, and in how many layers."""
    changed = found.layers - len(found.float_layers)
    return f"{found.bits} in {changed} of {found.layers} layers, divergence {found.divergence:.2g} from the float model"


def describe_worth(found: QuantizedRecord) -> str:
    """What an int8 file is worth: its scores, its size and its time."""
    scores = [
        f"{role} {found.scores[role]:.2f} ± {found.scores[f'{role}_stderr']:.2f}"
        for role in ("validation", "test")
        if role in found.scores
    ]
    size = f"{found.bytes:,} bytes, {found.bytes / found.float_bytes:.2f} of the float file's"
    time = f"{found.time.ratio:.2f} of its time at batch {found.time.batch}"
    return ", ".join((*scores, size, time))
