"""Markdown from texts that somebody else may have written: whatever they hold, they only say what they say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ranksearch.visible import visible

_MEANS_SOMETHING = re.compile(r"[\\`*_{}\[\]<>#|~!&$@]|:(?=//)|(?<=www)\.")
"""What Markdown, or a site that shows it, takes for markup, a link, a mention or a formula inside a line."""


def plain(text: str) -> str:
    """A text inside a line or a cell of a table."""
    return _MEANS_SOMETHING.sub(r"\\\g<0>", visible(text))


def code(text: str) -> str:
    """A name or a value, in the type of code where that can be: a code span knows no escapes."""
    shown = visible(text)
    return f"`{shown}`" if shown.strip() == shown != "" and not {*shown} & {*"`|\\"} else plain(shown)


def block(lines: Iterable[str], language: str) -> str:
    """Lines of code."""
    shown = [visible(line) for line in lines]
    longest = max((len(found) for line in shown for found in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}{language}", *shown, fence])


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """A table of cells that are Markdown already, its columns to the right but for the first `left` ones."""
    rules = ["---" if k < left else "---:" for k in range(len(headings))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (headings, rules, *rows))


def items(lines: Iterable[str]) -> str:
    """A list of lines that are Markdown already."""
    return "\n".join(f"- {line}" for line in lines)
