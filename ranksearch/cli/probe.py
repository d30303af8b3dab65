"""`ranksearch probe`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksearch.cli.console import ConsoleReporter, logging_to
from ranksearch.cli.guard import resumable
from ranksearch.cli.machine import Answer
from ranksearch.cli.next_steps import after_probe, print_steps
from ranksearch.cli.paths import shown
from ranksearch.cli.run import report_written
from ranksearch.runs import ProbeOptions, load_options, needs_trust


def probe_command(config: Path | None, given: Mapping[str, Any], answer: Answer | None = None) -> None:
    """Carry out a probe, from options to one screen of what it found."""
    from ranksearch.runs import open_probe, parse_probe, stored_probe_options

    own = {name: value for name, value in given.items() if name in ProbeOptions.model_fields}
    options = load_options({name: value for name, value in given.items() if name not in own}, config)
    wanted = parse_probe(own, stored_probe_options(options.out) if options.resume else None)
    reporter = ConsoleReporter(quiet=options.quiet)
    with (
        open_probe(options, wanted) as folder,
        resumable("probe", folder.path, trust=needs_trust(options)),
        logging_to(folder.log, reporter, verbose=options.verbose),
    ):
        reporter.line(f"probe folder: {shown(folder.path)}")
        started = time.monotonic()
        with reporter.live():
            from ranksearch.cli.verdict import verdict_view
            from ranksearch.runs import probe_pipeline

            record = probe_pipeline(options, wanted, folder, reporter)
        if wanted.plots:
            from ranksearch.probing import draw_figures

            draw_figures(folder)
            reporter.line(f"figures: {shown(folder.figures)}")
        reporter.result(verdict_view(record))
        report_written(folder.path, reporter)
        for what, path in (("record", folder.record), ("sweep", folder.sweep), ("spectra", folder.spectra)):
            if path.is_file():
                reporter.result(f"{what:<8}  {shown(path)}")
        (answer or Answer()).give(folder=str(folder.path.absolute()), probe=record.model_dump(mode="json"))
        print_steps(after_probe(options, record), reporter.line)
        reporter.line(f"done in {time.monotonic() - started:.0f} s")
