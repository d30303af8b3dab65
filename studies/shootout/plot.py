"""What is lost against budget, one line per method, one panel per variant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from methods import METHODS

from ranksearch.files import whole_file

if TYPE_CHECKING:
    from report import Point, Row

TITLES = {"ours": "on this project's candidates", "published": "as published"}
TICKS = (-1, 0, 1, 2, 5, 10, 20, 50)
APART = 0.0025
"""Between the lines of two methods at one budget, so that their bars can be told apart."""


def write_plot(path: Path, found: Mapping[Row, Sequence[Point]], *, what: str, dense: float) -> None:
    """Points below the dense model, which has `dense` per cent; linear within one point, logarithmic beyond.

    Bars are the paired 95 % intervals of the difference to the reference. A method has the same colour and marker
    everywhere.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = [variant for variant in TITLES if any(row[1] == variant for row in found)]
    figure = Figure(figsize=(1 + 6 * len(shown), 6.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    lines = {}
    for axes, variant in zip(panels, shown, strict=True):
        methods = [method for method in METHODS if (method, variant) in found]
        for place, method in enumerate(methods):
            points, number = found[method, variant], METHODS.index(method)
            lines[method] = axes.errorbar(
                [point.budget + APART * (place - (len(methods) - 1) / 2) for point in points],
                [dense - point.accuracy for point in points],
                yerr=[0.0 if point.difference is None else point.difference.half for point in points],
                color="black" if number == 0 else f"C{(number - 1) % 10}",
                linestyle="-" if number <= 10 else "--",
                marker="os^vD"[number % 5],
                markersize=5,
                linewidth=2.5 if number == 0 else 1.2,
                elinewidth=0.8,
                capsize=2,
                zorder=3 if number == 0 else 2,
            )
        axes.axhline(0.0, color="grey", linewidth=0.8)
        axes.set_title(TITLES[variant])
        axes.set_xlabel(f"{what} kept, as a fraction of the dense model's")
        axes.set_xticks(sorted({point.budget for points in found.values() for point in points}))
        axes.set_yscale("symlog", linthresh=1.0, linscale=0.7)
        axes.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS], minor=False)
        axes.set_ylim(100, -2)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(f"points below the dense model ({dense:.2f} %)")
    order = [method for method in METHODS if method in lines]
    figure.legend([lines[m] for m in order], order, fontsize=8, ncols=5, loc="outside lower center")
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=130, format="png")
