"""Errors on the command line: one red line and an exit code, a traceback in the log at most."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from ranksearch.cli.console import ConsoleReporter
from ranksearch.cli.flags import in_flags
from ranksearch.cli.paths import shown
from ranksearch.errors import InputError, RankSearchError

log = logging.getLogger("ranksearch")

USER_MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130


@contextmanager
def guarded() -> Iterator[None]:
    """Ends the command: exit code 2 for what the user can correct, 1 for other errors raised on purpose.

    Errors that nobody foresaw keep their traceback, which goes to the log too.
    """
    try:
        yield
    except RankSearchError as error:
        log.debug("stopped", exc_info=True)
        print_error(str(error))
        raise typer.Exit(USER_MISTAKE if isinstance(error, InputError) else FAILURE) from None
    except KeyboardInterrupt:
        log.debug("interrupted", exc_info=True)
        print_error("interrupted.")
        raise typer.Exit(INTERRUPTED) from None
    except typer.Exit:
        raise
    except Exception:
        log.debug("unexpected error", exc_info=True)
        raise


@contextmanager
def resumable(reporter: ConsoleReporter, command: str, folder: Path) -> Iterator[None]:
    """Live progress; what ends the command early is logged, and Ctrl-C answered with how to go on."""
    try:
        with reporter.live():
            yield
    except KeyboardInterrupt:
        way_on = f"ranksearch {command} --resume --out {shlex.quote(shown(folder))}"
        reporter.err.print(f"stopped; continue with: {way_on}", soft_wrap=True, markup=False)
        raise
    except Exception:
        log.debug("the %s ended early", command, exc_info=True)
        raise


def print_error(message: str) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for line in message.splitlines():
        console.print(f"[bold red]error:[/] {_plain(in_flags(line))}")


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
