"""Errors on the command line: one red line and an exit code, a traceback in the log at most."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import FrameType

import typer

from ranksearch.cli.endings import Terminated, ending
from ranksearch.cli.flags import in_flags
from ranksearch.cli.paths import shown
from ranksearch.cli.text import error_console, labelled

GO_ON = "continue with: "


@contextmanager
def guarded() -> Iterator[None]:
    """Ends the command: exit code 2 for what the user can correct, 130 and 143 for Ctrl-C and SIGTERM, 1 for the rest.

    Errors that nobody foresaw keep their traceback.
    """
    with _terminated():
        try:
            yield
        except BaseException as error:
            code = tell(error)
            if code is None:
                raise
            raise typer.Exit(code) from None


def tell(error: BaseException) -> int | None:
    """Print what an error means, and how to go on; the exit code, None for an error that nobody foresaw."""
    found = ending(error)
    if found is None:
        return None
    with suppress(OSError):
        print_error(found.message)
        for note in getattr(error, "__notes__", ()):
            if note.startswith(GO_ON):
                error_console().print(note, soft_wrap=True)
    return found.code


@contextmanager
def going_on(how: str, *, holds: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """What ends a command that can go on, in spite of what ended it, is told with how to, if that holds by then."""
    try:
        yield
    except BaseException as error:
        found = ending(error)
        if found is not None and found.go_on and holds():
            error.add_note(f"{GO_ON}{how}")
        raise


def resumable(command: str, folder: Path, *, trust: bool) -> AbstractContextManager[None]:
    """`going_on` for a command that a folder is resumed with.

    trust: whether its options name code or files, so that they count from its folder only where that is trusted.
    """
    return going_on(resume_line(command, folder, trust=trust))


def resume_line(command: str, folder: Path, *, trust: bool) -> str:
    """What continues a run or a probe that ended early."""
    return f"ranksearch {command} --resume --out {shlex.quote(shown(folder))}{' --trust' if trust else ''}"


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM as an exception, unless somebody has other plans with it."""
    main_thread = threading.current_thread() is threading.main_thread()
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:  # a worker, which inherited this
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        # `timeout` sends it twice; the second would end the clean-up after the first.
        signal.signal(number, signal.SIG_IGN)
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def print_error(message: str) -> None:
    """`error: …` in red, for each line of a message."""
    for line in message.split("\n"):
        error_console().print(labelled("error", "bold red", in_flags(line)), soft_wrap=True)
