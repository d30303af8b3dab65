"""Files of others read in: whole, of a bounded size, and as plain values that can be written again.

A file that is none, or too large, is an OSError, content of another kind a ValueError; both say what is there in a few
words, for whoever knows what was expected.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

RECORD_BYTES = 64 * 2**20
"""The most that a file of results may hold."""

OPTIONS_BYTES = 2**20
"""The most that a file of options may hold."""

DEPTH = 32
"""The most lists and tables within each other; no file of ours has more than a few."""

_DIGITS = 20
"""The most digits of a whole number: those of 64 bits."""

_TOML_STEPS = 2_000_000
"""The most steps that tomllib may take over dotted keys: it takes the square of a key's length, and the length of a
table's name again at every key in it."""

_NO_TEXT = re.compile("[\0\ud800-\udfff]")


def read_bytes(path: Path, most: int = RECORD_BYTES) -> bytes:
    """All that a regular file holds. Raises OSError where it is none, or holds more than `most` bytes."""
    # Opening a pipe would wait for somebody to write to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "a pipe, a socket or a device")
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"more than {most / 2**20:g} MB")
    return content


def read_text(path: Path, most: int = RECORD_BYTES) -> str:
    """A text file in UTF-8. Raises OSError as `read_bytes` does, and ValueError where it is no text."""
    return decoded(read_bytes(path, most))


def decoded(content: bytes) -> str:
    """Text in UTF-8, without the mark that Windows puts before it. Raises ValueError."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("bytes that are not UTF-8") from error
    if "\0" in text:
        raise ValueError("bytes that are 0")
    return text


def parse_json(text: str) -> Any:
    """The value that JSON stands for. Raises ValueError for what is no JSON, and for what cannot be carried on: names
    that come twice, numbers and depths beyond all bounds, text that UTF-8 cannot say."""
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_int=_whole, object_pairs_hook=_distinct)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    _check(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The table that TOML stands for. Raises ValueError for what is no TOML, and for what cannot be carried on."""
    lines = [line.count(".") for line in text.split("\n")]
    if sum(dots * dots for dots in lines) + len(lines) * max(lines) > _TOML_STEPS:
        raise ValueError("names of too many parts")
    try:
        table = tomllib.loads(text)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except ValueError as error:  # Python's own limit to the digits of a number is none of tomllib's errors
        raise ValueError(str(error) if isinstance(error, tomllib.TOMLDecodeError) else _LONG) from error
    _check(table, finite=False)
    return table


def parse_table(text: str, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a table, CSV with a line of names first, by column. Raises ValueError where columns or cells are
    missing or strange."""
    # A spectrum is one cell, and may be longer than what csv takes by default.
    before = csv.field_size_limit(RECORD_BYTES)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise ValueError(str(error)) from error
    finally:
        csv.field_size_limit(before)
    if not rows or rows[0] != [*columns]:
        raise ValueError(f"the columns {', '.join(rows[0]) if rows else 'none'}")
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(columns):
            raise ValueError(f"a row {number} with {len(row)} of {len(columns)} values")
    return [dict(zip(columns, row, strict=True)) for row in rows[1:]]


_TOO_DEEP = f"lists or tables more than {DEPTH} deep"
_LONG = f"a whole number of more than {_DIGITS} digits"


def _check(value: Any, *, finite: bool = True) -> None:
    """That a value can be walked through, counted with and written; without recursion, for that may be what fails."""
    left = [(value, 0)]
    while left:
        found, depth = left.pop()
        if depth > DEPTH:
            raise ValueError(_TOO_DEEP)
        match found:
            case dict():
                left += [(part, depth + 1) for pair in found.items() for part in pair]
            case list():
                left += [(part, depth + 1) for part in found]
            case str() if bad := _NO_TEXT.search(found):
                raise ValueError(f"a text with the character U+{ord(bad[0]):04X}")
            case int() if abs(found) >= 10**_DIGITS:
                raise ValueError(_LONG)
            case float() if finite and not math.isfinite(found):
                raise ValueError("a number that is too large")
            case date() | time():
                raise ValueError(f"the date or time {found}, which needs quotes")


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS + 1:
        raise ValueError(_LONG)
    return int(digits)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name}, which is no JSON number")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice!r} twice")
    return found
