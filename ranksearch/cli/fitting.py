"""A table that leaves out columns where the terminal is too narrow, rather than break the words in them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import rich.console
from rich import box
from rich.console import ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table

from ranksearch.cli.text import paragraph, styled

NOTHING = "–"
"""A cell without a value."""

_WIDE = 10_000


@dataclass(frozen=True)
class Column:
    """A heading and the cells under it. rank: columns of a higher one are left out first, those of 0 never."""

    heading: str
    cells: Sequence[str]
    rank: int = 0
    left: bool = False


@dataclass(frozen=True)
class Fitted:
    """Columns next to each other, without those in which no cell has a value."""

    columns: Sequence[Column]

    def __rich_console__(
        self, console: rich.console.Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        shown = [c for c in self.columns if any(cell != NOTHING for cell in c.cells)]
        out: list[str] = []
        while _width(console, options, shown) > options.max_width and any(c.rank for c in shown):
            last = max(shown, key=lambda column: column.rank)
            shown.remove(last)
            out.append(" ".join(last.heading.split()))
        yield _table(shown)
        if out:
            yield styled(f"no room for: {'; '.join(reversed(out))}", "dim")


def _width(console: rich.console.Console, options: ConsoleOptions, columns: Sequence[Column]) -> int:
    return Measurement.get(console, replace(options, max_width=_WIDE), _table(columns)).maximum


def _table(columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        heading = paragraph(column.heading.splitlines())
        table.add_column(heading, justify="left" if column.left else "right", overflow="fold")
    for row in zip(*(column.cells for column in columns), strict=True):
        table.add_row(*row)
    return table
