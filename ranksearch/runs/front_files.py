"""front.csv and front.svg: the front over all budgets as a table and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from ranksearch.costs import part_in_words
from ranksearch.files import write_text
from ranksearch.planning import Tables, TablesRecord
from ranksearch.runs.front_picture import draw_front
from ranksearch.runs.front_rows import MEASURED, FrontRow, front_rows


def write_whole_front(
    record: TablesRecord, tables: Tables, metric: str, folder: Path, table: Path
) -> tuple[list[FrontRow], Path, Path]:
    """Write the front over all budgets in a metric, as a table and, beside it, a picture; its rows and both paths.

    tables: those of the record, or a part of their candidates.
    """
    rows = front_rows(record, tables, metric, folder)
    picture = table.with_suffix(".svg")
    write_front_table(table, rows, list(record.dense))
    draw_front(
        picture,
        rows,
        metric=metric,
        model=record.model.name,
        task_metric=record.task_metric,
        of="" if record.part is None else f" in {part_in_words(record.part.asked)}",
    )
    return rows, table, picture


def write_front_table(path: Path, rows: Sequence[FrontRow], metrics: Sequence[str]) -> None:
    """Write front.csv: a row per plan, empty cells for what is not known."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["budget", *metrics, "error", "divergence", "delivered", *MEASURED])
    for row in rows:
        numbers = [row.error, row.divergence]
        writer.writerow(
            [
                f"{row.budget:.6g}",
                *(row.cost.of(metric) for metric in metrics),
                *map(_number, numbers),
                row.delivered,
                *(_number(row.scores.get(name)) for name in MEASURED),
            ]
        )
    write_text(path, text.getvalue())


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
