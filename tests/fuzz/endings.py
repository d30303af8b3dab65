"""Commands in this process, and how they may end."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Sequence

from typer.testing import CliRunner, Result

from ranksearch.cli.app import app
from ranksearch.cli.endings import FAILURE, INTERRUPTED, NOT_KEPT, USER_MISTAKE

CODES = {0, FAILURE, USER_MISTAKE, NOT_KEPT, INTERRUPTED}

PATIENCE = 20.0
"""Seconds after which Ctrl-C is sent: a damaged number may ask for a million trials."""


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def invoke(words: Sequence[str]) -> Result:
    """`ranksearch` with some words, in this process, however it ends."""
    before = signal.signal(signal.SIGALRM, _interrupt)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return CliRunner().invoke(app, words)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def check_ending(result: Result, about: str) -> None:
    """That a command ended by itself, with a documented code, and told what was wrong if anything was."""
    known = result.exception is None or isinstance(result.exception, SystemExit)
    assert known, f"{about}: {result.exception!r}\n{result.output[-2000:]}"
    assert result.exit_code in CODES, f"{about}: {result.exit_code}\n{result.output[-2000:]}"
    assert "Traceback" not in result.output, about
    for line in result.output.splitlines():
        assert line.isprintable(), f"{about}: {line!r}"
    if result.exit_code:
        assert result.output.strip(), about
