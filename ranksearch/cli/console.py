"""What a command prints while it works, and its log; plain lines where there is no terminal."""

from __future__ import annotations

import io
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import TextIOWrapper
from pathlib import Path

from rich.console import RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from ranksearch.cli.flags import in_flags, with_flags
from ranksearch.cli.text import PLAIN_WIDTH, TextConsole, error_console, output_console, paragraph, print_line
from ranksearch.files import open_own
from ranksearch.visible import visible, visible_lines

log = logging.getLogger("ranksearch")

PRINTED = {"printed": True}
"""Marks a log record of something that is on the screen already."""
EVERY = 15.0
"""Seconds between plain progress lines."""


@dataclass
class _Stage:
    started: float
    printed: float
    first: int
    task: TaskID | None = None


@dataclass
class ConsoleReporter:
    """Tells a person what goes on: results on stdout, progress on stderr, everything in the log."""

    quiet: bool = False
    out: TextConsole = field(default_factory=output_console)
    err: TextConsole = field(default_factory=error_console)
    _bars: Progress | None = None
    _stages: dict[str, _Stage] = field(default_factory=dict)
    _finished: set[str] = field(default_factory=set)

    def line(self, text: str) -> None:
        """A fact on the way, left out by --quiet."""
        text = with_flags(text)
        log.info(text, extra=PRINTED)
        if not self.quiet:
            # Two consoles on one terminal would print into each other's bars.
            shared = self._bars is not None and self.out.is_terminal
            print_line(self.err if shared else self.out, text)

    def result(self, content: RenderableType) -> None:
        """What the command is for."""
        if isinstance(content, str):
            print_line(self.out, content)
        else:
            self.out.print(content)
        record = TextConsole(width=PLAIN_WIDTH, color_system=None, record=True, file=io.StringIO())
        record.print(content, soft_wrap=isinstance(content, str))
        log.info("\n%s", record.export_text().rstrip(), extra=PRINTED)

    def progress(self, stage: str, done: int, total: int, best: float | None = None) -> None:
        """`done` of `total` of a stage; a stage begins when it is first heard of."""
        if stage in self._finished:
            return
        now = time.monotonic()
        state = self._stages.get(stage)
        if state is None:
            state = self._stages[stage] = _Stage(now, now, done)
            if self._bars is not None:
                state.task = self._bars.add_task(visible(stage), total=total, note="")
        note = "" if best is None else f"best {best:.4g}"
        if self._bars is not None and state.task is not None:
            self._bars.update(state.task, completed=done, total=total, note=note)
        if done >= total:
            text = f"{stage}: {done} of {total}, {now - state.started:.1f} s" + (f", {note}" if note else "")
            log.info(text, extra=PRINTED)
            if self._bars is not None and state.task is not None:
                self._bars.remove_task(state.task)
            del self._stages[stage]
            self._finished.add(stage)
            self._plain(text)
        elif now - state.printed >= EVERY:
            left = (now - state.started) / max(1, done - state.first) * (total - done)
            self._plain(
                f"{stage}: {done} of {total}, about {left:.0f} s left" + (f", {note}" if note else "")
            )
            state.printed = now

    def loss(self, stage: str, step: int, value: float) -> None:
        """Of a step of training; nobody reads thousands of them here."""

    def _plain(self, text: str) -> None:
        if self._bars is None and not self.quiet:
            self.err.print(text, soft_wrap=True)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Progress bars, where stderr is a terminal."""
        if self.quiet or not self.err.is_terminal:
            yield
            return
        columns = (
            TextColumn("{task.description:<22}", markup=False),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}", markup=False),
        )
        with Progress(*columns, console=self.err) as self._bars:
            try:
                yield
            finally:
                self._stages.clear()
        self._bars = None


@contextmanager
def logging_to(path: Path | None, reporter: ConsoleReporter, *, verbose: bool = False) -> Iterator[None]:
    """All that ranksearch logs goes to `path`; warnings, and with `verbose` the rest, to stderr too.

    What ends the command early is logged with its traceback.
    """
    level = logging.DEBUG if verbose else logging.ERROR if reporter.quiet else logging.WARNING
    handlers: list[logging.Handler] = [_Screen(reporter.err, level)]
    if path is not None:
        handlers.append(_File(path, reporter.err))
    before, propagated = log.level, log.propagate
    log.setLevel(logging.DEBUG)
    log.propagate = False
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    except BaseException:
        log.debug("the command ended early", exc_info=True)
        raise
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            with suppress(OSError):  # it would hide what ended the command
                handler.close()
        log.setLevel(before)
        log.propagate = propagated


class _Screen(logging.Handler):
    """`warning: …` on a console, without what is there already and without tracebacks."""

    def __init__(self, console: TextConsole, level: int) -> None:
        super().__init__(level)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "printed", False):
            text = visible_lines(f"{record.levelname.lower()}: {in_flags(record.getMessage())}")
            self._console.print(paragraph(text.split("\n")), soft_wrap=True)


class _File(logging.FileHandler):
    """The log file. Where it cannot be written to, one warning says so, and the command goes on."""

    def __init__(self, path: Path, console: TextConsole) -> None:
        super().__init__(path, encoding="utf-8")
        self._console = console
        self._failed = False
        self.setFormatter(_Entry("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    def _open(self) -> TextIOWrapper:
        return open(open_own(Path(self.baseFilename), os.O_WRONLY | os.O_APPEND), "a", encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self._failed:
            self._failed = True
            text = f"warning: {Path(self.baseFilename).name} cannot be written to ({error.strerror})"
            with suppress(OSError):
                self._console.print(text, soft_wrap=True)


class _Entry(logging.Formatter):
    """An entry of the log, tracebacks included, as text."""

    def format(self, record: logging.LogRecord) -> str:
        return visible_lines(super().format(record))
