"""Tables whose columns depend on the run: CSV with a line of names first."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from math import isfinite
from pathlib import Path

from ranksearch.reading import parse_table, read_text

Row = Mapping[str, str]
"""A cell by the name of its column."""


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a table. Raises OSError, and ValueError for what is no table."""
    text = read_text(path)
    columns = next(csv.reader(text.splitlines()[:1]), [])
    return tuple(parse_table(text, columns))


def number(row: Row, column: str) -> float | None:
    """A cell as a number; None where it is empty, missing, or no finite number."""
    try:
        value = float(row.get(column, ""))
    except ValueError:
        return None
    return value if isfinite(value) else None
