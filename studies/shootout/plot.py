"""Accuracy against budget, one line per method and variant. Needs matplotlib: pip install '.[plots]'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ranksearch.files import whole_file

if TYPE_CHECKING:
    from report import Point, Row


def write_plot(path: Path, found: Mapping[Row, Sequence[Point]], *, what: str, dense: float | None) -> None:
    """Bars are the paired 95 % intervals of the difference to the reference; without matplotlib, no plot."""
    if find_spec("matplotlib") is None:
        print(f"{path.name}: left out, matplotlib is not installed (pip install '.[plots]')")
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    methods = list(dict.fromkeys(method for method, _ in found))
    for (method, variant), points in found.items():
        axes.errorbar(
            [point.budget for point in points],
            [point.accuracy for point in points],
            yerr=[0.0 if point.difference is None else point.difference.half for point in points],
            label=f"{method}, {variant}",
            color=f"C{methods.index(method) % 10}",
            linestyle="-" if variant == "ours" else "--",
            marker="os^vD"[methods.index(method) // 10 % 5],
            markersize=4,
            linewidth=2.5 if method == "ranksearch" else 1.2,
            capsize=2,
        )
    if dense is not None:
        axes.axhline(dense, color="black", linewidth=0.8, label="dense")
    axes.set_xlabel(f"{what} kept, as a fraction of the dense model's")
    axes.set_ylabel("test accuracy, %")
    axes.grid(alpha=0.3)
    axes.set_ylim(0, 100)
    figure.legend(fontsize=7, ncols=5, loc="outside lower center")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
