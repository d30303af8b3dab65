"""Messages in the words of the command line: what the library calls a parameter is an option there."""

from __future__ import annotations

import re

from ranksearch.runs import ProbeOptions, RunOptions

_KNOWN = frozenset(
    {*RunOptions.model_fields, *ProbeOptions.model_fields, "lang", "ranks", "to", "host", "port"}
)


def with_flags(text: str) -> str:
    """A text with options in place of the parameters that stand in backticks."""
    return re.sub(r"`(\w+)(?:=([^`]*))?`", _option, text)


def in_flags(message: str) -> str:
    """An error or a warning in the words of the command line.

    Parameters stand in backticks, `` `epochs=0` ``, or are what a message is about and begins with, `budget: …`.
    """
    message = with_flags(message)
    head, colon, rest = message.partition(":")
    return f"{_flag(head)}{colon}{rest}" if head.replace("-", "_") in _KNOWN else message


def _option(found: re.Match[str]) -> str:
    name, value = found[1], found[2]
    if name not in _KNOWN:
        return found[0]
    if value in ("True", "False"):
        return _flag(name) if value == "True" else f"--no-{_flag(name)[2:]}"
    return _flag(name) if value is None else f"{_flag(name)} {value}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
