"""`--json`: one object on standard output for programs, and everything that people read on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, TextIO

import typer

from ranksearch.cli.endings import ending
from ranksearch.cli.flags import in_flags
from ranksearch.cli.guard import GO_ON
from ranksearch.cli.text import BROKEN_PIPE, discard
from ranksearch.runs import MAIN_PANEL

FORMAT = 1
"""Of the keys. It changes where one is taken away, or means something else."""

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON object on standard output, and everything else on standard error (docs/command_line.md).",
        rich_help_panel=MAIN_PANEL,
        show_default=False,
    ),
]


@dataclass
class Answer:
    """What a command found, once it has."""

    content: dict[str, Any] | None = None

    def give(self, **content: Any) -> None:
        """Keep what is to be printed, by the keys that docs/command_line.md documents."""
        self.content = content


@contextmanager
def answering(command: str, wanted: bool) -> Iterator[Answer]:
    """An answer that is printed when the command ends, whatever its exit code; after an error it holds the error.

    wanted: whether a program is waiting for it.
    """
    answer, output = Answer(), sys.stdout
    if not wanted:
        yield answer
        return
    try:
        with redirect_stdout(sys.stderr):
            yield answer
    except BaseException as error:
        if answer.content is None and (found := ending(error)) is not None:
            notes = (note for note in getattr(error, "__notes__", ()) if note.startswith(GO_ON))
            go_on = next((note.removeprefix(GO_ON) for note in notes), None)
            answer.give(error=in_flags(found.message), exit_code=found.code, go_on=go_on)
        raise
    finally:
        if answer.content is not None:
            said = {"command": command, "format": FORMAT, **_finite(answer.content)}
            _write(json.dumps(said, indent=2, allow_nan=False), output)


def _write(text: str, output: TextIO) -> None:
    try:
        print(text, file=output, flush=True)
    except BrokenPipeError:
        discard(output)
        raise SystemExit(BROKEN_PIPE) from None


def _finite(value: Any) -> Any:
    """The same with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not isfinite(value) else value
