"""What a command prints while it works, and its log; plain lines where there is no terminal."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, RenderableType
from rich.markup import escape
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

log = logging.getLogger("ranksearch")

PLAIN_WIDTH = 120
"""Columns of what goes to a file or a pipe."""
PRINTED = {"printed": True}
"""Marks a log record of something that is on the screen already."""
EVERY = 15.0
"""Seconds between plain progress lines."""


def output_console() -> Console:
    """Where results go."""
    return Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH, highlight=False)


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
    out: Console = field(default_factory=output_console)
    err: Console = field(default_factory=lambda: Console(stderr=True, highlight=False))
    _bars: Progress | None = None
    _stages: dict[str, _Stage] = field(default_factory=dict)
    _finished: set[str] = field(default_factory=set)

    def line(self, text: str) -> None:
        """A fact on the way, left out by --quiet."""
        text = with_flags(text)
        log.info(text, extra=PRINTED)
        if not self.quiet:
            self.out.print(escape(text), soft_wrap=True)

    def result(self, content: RenderableType) -> None:
        """What the command is for."""
        self.out.print(content, soft_wrap=isinstance(content, str))
        record = Console(
            width=PLAIN_WIDTH, highlight=False, color_system=None, record=True, file=io.StringIO()
        )
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
                state.task = self._bars.add_task(stage, total=total, note="")
        note = "" if best is None else f"best {best:.4g}"
        if self._bars is not None and state.task is not None:
            self._bars.update(state.task, completed=done, total=total, note=note)
        if done >= total:
            text = f"{stage}: {done} of {total}, {now - state.started:.1f} s" + (f", {note}" if note else "")
            log.info(text, extra=PRINTED)
            del self._stages[stage]
            self._finished.add(stage)
            self._plain(text)
        elif now - state.printed >= EVERY:
            left = (now - state.started) / max(1, done - state.first) * (total - done)
            self._plain(
                f"{stage}: {done} of {total}, about {left:.0f} s left" + (f", {note}" if note else "")
            )
            state.printed = now

    def _plain(self, text: str) -> None:
        if self._bars is None and not self.quiet:
            self.err.print(escape(text), soft_wrap=True)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Progress bars, where stderr is a terminal."""
        if self.quiet or not self.err.is_terminal:
            yield
            return
        columns = (
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.err) as self._bars:
            try:
                yield
            finally:
                self._stages.clear()
        self._bars = None


@contextmanager
def logging_to(path: Path | None, reporter: ConsoleReporter, *, verbose: bool = False) -> Iterator[None]:
    """All that ranksearch logs goes to `path`; warnings, and with `verbose` the rest, to stderr too."""
    level = logging.DEBUG if verbose else logging.ERROR if reporter.quiet else logging.WARNING
    handlers: list[logging.Handler] = [_Screen(reporter.err, level)]
    if path is not None:
        file = logging.FileHandler(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        handlers.append(file)
    before, propagated = log.level, log.propagate
    log.setLevel(logging.DEBUG)
    log.propagate = False
    for handler in handlers:
        log.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
        log.setLevel(before)
        log.propagate = propagated


class _Screen(logging.Handler):
    """`warning: …` on a console, without what is there already and without tracebacks."""

    def __init__(self, console: Console, level: int) -> None:
        super().__init__(level)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        if not getattr(record, "printed", False):
            text = f"{record.levelname.lower()}: {in_flags(record.getMessage())}"
            self._console.print(escape(text), soft_wrap=True)
