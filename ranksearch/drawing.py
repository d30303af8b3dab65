"""Figures in files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ranksearch.files import whole_file
from ranksearch.visible import visible


def new_figure(columns: int, rows: int, width: float, height: float, **shared: Any) -> tuple[Any, list[Any]]:
    """A matplotlib figure of that many inches, and its axes row by row."""
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **shared)
    return figure, [axis for row in axes for axis in row]


def save_figure(figure: Any, path: Path) -> None:
    """Write a figure, in the format of the path's suffix. The same figure gives identical files."""
    import matplotlib

    buffer = io.BytesIO()
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    # Without a random salt and the date.
    with matplotlib.rc_context({"svg.hashsalt": "ranksearch"}):
        figure.savefig(buffer, format=path.suffix[1:], dpi=130, metadata=metadata)
    with whole_file(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def plain(text: str) -> str:
    """Other people's text, in which dollars are no formula."""
    return visible(text).replace("$", r"\$")
