"""A table that leaves out columns where the terminal is too narrow, rather than break the words in them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import rich.console
from rich import box
from rich.cells import cell_len
from rich.console import ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.table import Table

from ranksearch.cli.text import Styled, paragraph, styled

NOTHING = "–"
"""A cell without a value."""

_WIDE = 10_000


@dataclass(frozen=True)
class Column:
    """A heading and the cells under it. rank: columns of a higher one are left out first, those of 0 never."""

    heading: str
    cells: Sequence[str | Styled]
    rank: int = 0
    left: bool = False

    def ends(self) -> tuple[int, int]:
        """The width of its longest word, and of its longest line."""
        lines = [line for text in (self.heading, *map(str, self.cells)) for line in text.splitlines()]
        words = (word for line in lines for word in line.split())
        return max(map(cell_len, words), default=0), max(map(cell_len, lines), default=0)


@dataclass(frozen=True)
class Fitted:
    """Columns next to each other, without those in which no cell has a value.

    wraps: whether a cell may take several lines, which end between words. sections: rows that a line goes before.
    """

    columns: Sequence[Column]
    wraps: bool = False
    sections: Collection[int] = ()

    def __rich_console__(
        self, console: rich.console.Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        shown = [c for c in self.columns if any(cell not in (NOTHING, "") for cell in map(str, c.cells))]
        out: list[str] = []
        while self._least(console, options, shown) > options.max_width and any(c.rank for c in shown):
            last = max(shown, key=lambda column: column.rank)
            shown.remove(last)
            out.append(" ".join(last.heading.split()))
        whole = self._width(console, options, shown)
        yield self._table(shown, None if whole <= options.max_width else options.max_width - whole)
        if out:
            yield styled(f"no room for: {'; '.join(reversed(out))}", "dim")

    def _width(
        self, console: rich.console.Console, options: ConsoleOptions, columns: Sequence[Column]
    ) -> int:
        wide = replace(options, max_width=_WIDE)
        return Measurement.get(console, wide, self._table(columns)).maximum

    def _least(
        self, console: rich.console.Console, options: ConsoleOptions, columns: Sequence[Column]
    ) -> int:
        """The width at which no word is broken."""
        whole = self._width(console, options, columns)
        return whole - (sum(longest - word for word, longest in _ends(columns)) if self.wraps else 0)

    def _table(self, columns: Sequence[Column], lacking: int | None = None) -> Table:
        """lacking: by how much it is too wide, below 0; None where it is not."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        widths = _narrowed(_ends(columns), -lacking) if lacking is not None and self.wraps else None
        for place, column in enumerate(columns):
            table.add_column(
                paragraph(column.heading.splitlines()),
                justify="left" if column.left else "right",
                overflow="fold",
                width=None if widths is None else widths[place],
            )
        for place, row in enumerate(zip(*(column.cells for column in columns), strict=True)):
            if place in self.sections:
                table.add_section()
            table.add_row(*row)
        return table


def _ends(columns: Sequence[Column]) -> list[tuple[int, int]]:
    return [column.ends() for column in columns]


def _narrowed(ends: Sequence[tuple[int, int]], excess: int) -> list[int] | None:
    """The widths of columns that are too wide together; those with the most to give give, down to their words.

    None where that is not enough.
    """
    widths = [longest for _, longest in ends]
    for _ in range(excess):
        place = max(range(len(ends)), key=lambda k: widths[k] - ends[k][0])
        if widths[place] <= ends[place][0]:
            return None
        widths[place] -= 1
    return widths
