"""The one way to the screen: whatever is printed is text, in which neither markup nor control sequences count."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from typing import IO, Any

from rich.console import Console, JustifyMethod, OverflowMethod
from rich.style import Style
from rich.text import Text

from ranksearch.visible import visible, visible_lines

PLAIN_WIDTH = 120
"""Columns of what goes to a file or a pipe."""
BROKEN_PIPE = 141
"""Exit code where nobody reads the output any more, as of a program that SIGPIPE ends."""


Styled = Text
"""What `styled` gives."""


class TextConsole(Console):
    """A console that takes every string for text; styles come with `styled`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        **_: Any,
    ) -> Text:
        """What rich calls for each string: in a line, a cell, a heading."""
        return Text(visible(text), style=style, justify=justify, overflow=overflow)

    def on_broken_pipe(self) -> None:
        """Nobody is left to tell anything to."""
        self.quiet = True
        discard(self.file)
        raise SystemExit(BROKEN_PIPE)


def output_console() -> TextConsole:
    """Where results go."""
    terminal = sys.stdout is not None and sys.stdout.isatty()
    return TextConsole(width=None if terminal else PLAIN_WIDTH)


def error_console() -> TextConsole:
    """Where progress, warnings and errors go."""
    return TextConsole(stderr=True)


def styled(text: str, style: str = "", *, overflow: OverflowMethod | None = None) -> Text:
    """A text with a style."""
    return Text(visible(text), style, overflow=overflow)


def print_line(console: Console, text: str) -> None:
    """A line of any length. On a terminal prose goes on between words; paths and columns stay whole, to be copied."""
    is_prose = "  " not in text and "/" not in text
    console.print(text, soft_wrap=not (is_prose and console.is_terminal))


def labelled(label: str, style: str, text: str) -> Text:
    """`label: text`, the label with a style."""
    return Text.assemble((f"{label}:", style), f" {visible(text)}")


def paragraph(lines: Iterable[str]) -> Text:
    """Texts under each other."""
    return Text("\n").join(map(styled, lines))


def print_traceback(error: BaseException) -> None:
    """What Python prints of an error that nobody foresaw, as text."""
    with suppress(OSError):
        print(visible_lines("".join(traceback.format_exception(error)).rstrip()), file=sys.stderr)


def prepare_streams() -> None:
    """Have what a stream's encoding lacks printed as an escape: a terminal of another age is no reason to fail."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def close_streams() -> None:
    """Drop what a full disk or a closed pipe did not take; Python would complain about it at the very end."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except (OSError, ValueError):
                discard(stream)


def discard(stream: IO[str]) -> None:
    """Nobody reads a stream any more: what is left of it goes nowhere."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
