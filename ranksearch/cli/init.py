"""`ranksearch init`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ranksearch.cli.console import ConsoleReporter
from ranksearch.cli.next_steps import Step, print_steps
from ranksearch.cli.paths import shown
from ranksearch.errors import InputError, expected
from ranksearch.files import write_text
from ranksearch.folders import usable
from ranksearch.runs import load_options


def init_command(config: Path, given: Mapping[str, Any]) -> None:
    """Look at a model and its data, and write the options of a run on them."""
    options = load_options(given)
    reporter = ConsoleReporter(quiet=options.quiet)
    with usable(config.parent):
        if config.exists():
            raise InputError(expected("FILE", "a new file", str(config), "Name another one, or remove it."))
    reporter.line("loading PyTorch …")
    with reporter.live():
        from ranksearch.runs import initial_study

        text = initial_study(options, config, reporter)
    with usable(config.parent):
        write_text(config, text)
    reporter.result(f"{'options':<8}  {shown(config)}")
    print_steps(
        [Step("edit it, then", f"ranksearch run --config {shlex.quote(shown(config))}")], reporter.line
    )
