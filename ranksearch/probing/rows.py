"""sweep.csv: one row per measured truncation, appended immediately, read back when a probe is resumed."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any, Literal, get_args

from ranksearch.errors import MismatchError, expected
from ranksearch.probing.cuts import Cut
from ranksearch.probing.scores import Scores
from ranksearch.reading import decoded, parse_table, read_bytes
from ranksearch.tasks import Estimate

Scope = Literal["layer", "all", "prefix", "suffix", "plan"]
"""What is truncated together: one layer; all; the first ones up to a layer; the last ones from a layer on. For `plan`,
an analytic plan is applied instead."""


@dataclass(frozen=True)
class Row:
    """A truncation and its effect.

    layer: the truncated one; the last of a prefix, the first of a suffix; "" for all. layers: how many.
    target: the norm to keep that determined the bond dimensions, None if they were given; for a plan its budget. bond,
    full: the bond dimension kept and the full one, None if layers differ. norm_kept: ‖Ŵ‖ / ‖W‖, the mean over
    layers, None for a plan. epsilon: the analytic ε of the truncated kernels, in units of the loss, None without
    moments. For the rest see `Scores`; _se are standard errors.
    """

    scope: Scope
    layer: str
    layers: int
    cut: str
    target: float | None
    bond: int | None
    full: int | None
    norm_kept: float | None
    epsilon: float | None
    accuracy: float | None
    accuracy_se: float | None
    drop: float | None
    drop_se: float | None
    loss: float | None
    loss_se: float | None
    kl: float
    kl_se: float

    @property
    def key(self) -> tuple[str, str, str, float | None, int | None]:
        return self.scope, self.layer, self.cut, self.target, self.bond


def scored(scores: Scores) -> dict[str, float | None]:
    """The columns that hold scores."""
    named = {"accuracy": scores.accuracy, "drop": scores.drop, "loss": scores.loss, "kl": scores.kl}
    columns: dict[str, float | None] = {}
    for name, estimate in named.items():
        columns[name] = None if estimate is None else estimate.mean
        columns[f"{name}_se"] = None if estimate is None else estimate.stderr
    return columns


def scores_of(row: Row, count: int) -> Scores:
    """The scores of a row over `count` images."""

    def estimate(mean: float | None, stderr: float | None) -> Estimate | None:
        return None if mean is None or stderr is None else Estimate(mean, stderr, count)

    return Scores(
        estimate(row.accuracy, row.accuracy_se),
        estimate(row.drop, row.drop_se),
        estimate(row.loss, row.loss_se),
        Estimate(row.kl, row.kl_se, count),
    )


COLUMNS = tuple(field.name for field in fields(Row))
_TEXT = ("scope", "layer", "cut")
_WHOLE = ("layers", "bond", "full")
_OPTIONAL = tuple(field.name for field in fields(Row) if "None" in str(field.type))
_WAY_OUT = "Probe the model again, into another folder."


class SweepFile:
    """The rows of a sweep on disk. Rows that are added together appear together, or not at all."""

    def __init__(self, path: Path) -> None:
        """Read the existing rows; an incomplete last line of a killed run is removed."""
        self.path = path
        content = _content(path) if path.exists() else b""
        whole = _whole_lines(content)
        if not whole and not _HEADER.startswith(content):
            raise _strange(path, "something else")
        self._rows = {row.key: row for row in _parse(path, whole)} if whole else {}
        if whole != content:
            os.truncate(path, len(whole))
        if not whole:
            self._write(_HEADER.decode())

    @property
    def rows(self) -> tuple[Row, ...]:
        return tuple(self._rows.values())

    def get(self, scope: Scope, layer: str, cut: str, target: float | None, bond: int | None) -> Row | None:
        """The row of a truncation, if it was measured."""
        return self._rows.get((scope, layer, cut, target, bond))

    def append(self, rows: Iterable[Row]) -> None:
        """Append rows and flush them to disk."""
        rows = list(rows)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        for row in rows:
            writer.writerow(
                ["" if v is None else repr(v) if isinstance(v, float) else v for v in _values(row)]
            )
        self._write(text.getvalue())
        self._rows |= {row.key: row for row in rows}

    def _write(self, text: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())


def _values(row: Row) -> list[Any]:
    return list(asdict(row).values())


_HEADER = (",".join(COLUMNS) + "\n").encode()


def read_rows(path: Path) -> tuple[Row, ...]:
    """All whole rows of a sweep.csv. Raises MismatchError."""
    return tuple(_parse(path, _whole_lines(_content(path))))


def _content(path: Path) -> bytes:
    try:
        return read_bytes(path)
    except OSError as error:
        raise _strange(path, error.strerror) from error


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _parse(path: Path, content: bytes) -> list[Row]:
    try:
        return [_row(values) for values in parse_table(decoded(content), COLUMNS)]
    except ValueError as error:
        raise _strange(path, error) from error


def _strange(path: Path, got: object) -> MismatchError:
    return MismatchError(
        expected(str(path), f"rows of a sweep, with the columns {', '.join(COLUMNS)}", got, _WAY_OUT)
    )


def _row(values: dict[str, str]) -> Row:
    parsed: dict[str, Any] = {}
    for name, text in values.items():
        if name in _TEXT:
            parsed[name] = text
        elif text == "" and name in _OPTIONAL:
            parsed[name] = None
        else:
            parsed[name] = int(text) if name in _WHOLE else float(text)
    row = Row(**parsed)
    _check(row)
    return row


def _check(row: Row) -> None:
    """What a row says has to be possible; a score alone may be infinite, or no number, where a network broke down."""
    if row.scope not in get_args(Scope):
        raise ValueError(f"the scope {row.scope!r}")
    if row.scope != "plan":
        Cut.named(row.cut)
    if any(count is not None and count < 0 for count in (row.layers, row.bond, row.full)):
        raise ValueError(f"{row.layers} layers at bond dimension {row.bond} of {row.full}")
    for name in ("target", "norm_kept", "epsilon"):
        value = getattr(row, name)
        if value is not None and not isfinite(value):
            raise ValueError(f"{name} {value}")
    if row.scope == "plan" and not (row.epsilon or 0) > 0:
        raise ValueError(f"a plan with epsilon {row.epsilon}")
