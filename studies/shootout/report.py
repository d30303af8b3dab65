"""Results of a folder of cells: results.csv, results.md and a plot per metric."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from cells import Cell, Record, Store, unpack
from numpy.typing import NDArray
from plot import write_plot
from stats import Difference, paired

from ranksearch.files import write_text

Row = tuple[str, str]
BIG = ("correct", "correct_without", "choice", "plan")
FOREMOST = 5
UNITS = {"params": "Parameters", "flops": "FLOPs"}


def write_report(store: Store, cells: Sequence[Cell], reference: str, tuned_budgets: Sequence[float]) -> None:
    """Of the cells that are there; differences are taken to the reference on this project's candidates."""
    records = store.every("cells", [cell.name for cell in cells])
    write_csv(store.folder / "results.csv", records)
    feasible = [r for r in records if "infeasible" not in r]
    dense = store.read("dense", "dense")
    parts = [_header(dense, feasible, reference)]
    for metric in dict.fromkeys(cell.metric for cell in cells):
        own = [r for r in feasible if r["metric"] == metric]
        if own:
            parts += _tables(own, metric, (reference, "ours"))
            if dense is not None:
                picture = store.folder / f"accuracy-{metric}.png"
                found = series(own, (reference, "ours"))
                write_plot(picture, found, what=UNITS[metric], dense=dense["accuracy"])
    tuned = store.every("finetuned", [cell.name for cell in cells])
    if tuned:
        parts.append(_tuned_table(tuned, tuned_budgets, (reference, "ours")))
    write_text(store.folder / "results.md", "\n\n".join(parts) + "\n")
    print(f"results: {store.folder / 'results.md'}")


def write_csv(path: Path, records: Sequence[Record]) -> None:
    """One line per cell, all but what is long."""
    names = list(dict.fromkeys(name for record in records for name in record if name not in BIG))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(records)
    write_text(path, text.getvalue())


def hits(records: Sequence[Record], row: Row, budget: float, key: str) -> dict[int, NDArray[np.bool_]]:
    """By seed, the correctness per image."""
    return {
        r["seed"]: unpack(r[key])
        for r in records
        if (r["method"], r["variant"]) == row and r["budget"] == budget
    }


def mean_accuracy(by_seed: Mapping[int, NDArray[np.bool_]]) -> float:
    """Per cent, over seeds."""
    return 100 * fmean(float(found.mean()) for found in by_seed.values())


@dataclass(frozen=True)
class Point:
    """A row at one budget: accuracy in per cent, mean of so many seeds, and its difference to the reference over the
    seeds that both have."""

    budget: float
    accuracy: float
    seeds: int
    difference: Difference | None


def series(records: Sequence[Record], reference: Row, key: str = "correct") -> dict[Row, list[Point]]:
    """By row, its points by rising budget; rows by falling mean accuracy."""
    budgets = sorted({r["budget"] for r in records})
    rows = dict.fromkeys((r["method"], r["variant"]) for r in records)
    found: dict[Row, list[Point]] = {}
    for row in rows:
        for budget in budgets:
            own = hits(records, row, budget, key)
            if own:
                known = hits(records, reference, budget, key)
                difference = paired(own, known) if row != reference else None
                found.setdefault(row, []).append(Point(budget, mean_accuracy(own), len(own), difference))
    order = sorted(found, key=lambda row: -fmean(point.accuracy for point in found[row]))
    return {row: found[row] for row in order}


def strongest(store: Store, cells: Sequence[Cell], budgets: Sequence[float]) -> list[Row]:
    """The rows with the best mean accuracy at these budgets of the parameters.

    Those that lack a budget are left out, and so are those whose every answer is that of a better placed row.
    """
    wanted = [c.name for c in cells if c.metric == "params" and c.budget in budgets]
    records = [r for r in store.every("cells", wanted) if "infeasible" not in r]
    means: dict[Row, float] = {}
    answers: dict[Row, list[tuple[float, int, str]]] = {}
    for row in dict.fromkeys((r["method"], r["variant"]) for r in records):
        own = [hits(records, row, budget, "correct") for budget in budgets]
        if not all(own):
            continue
        mine = [r for r in records if (r["method"], r["variant"]) == row]
        same = sorted((r["budget"], r["seed"], r["correct"]["bits"]) for r in mine)
        if same not in answers.values():
            answers[row] = same
            means[row] = fmean(mean_accuracy(found) for found in own)
    return sorted(means, key=lambda row: -means[row])[:FOREMOST]


def _header(dense: Record | None, records: Sequence[Record], reference: str) -> str:
    images = next((r["correct"]["count"] for r in records), 0)
    text = (
        f"Accuracy in per cent on {images:,} test images, mean over seeds. Below it the paired difference to "
        f"`{reference}` in points, over the seeds that both have, with its 95 % interval over images and seeds."
    )
    return text if dense is None else f"{text} Dense: {dense['accuracy']:.2f}."


def _tables(records: Sequence[Record], metric: str, reference: Row) -> list[str]:
    unit = UNITS[metric]
    parts = []
    for key, what in (
        ("correct", "BatchNorm statistics re-estimated"),
        ("correct_without", "BatchNorm statistics of the dense model"),
    ):
        parts.append(f"### {unit} kept; {what}\n\n" + _accuracies(series(records, reference, key)))
    parts.append(f"### {unit} kept; what it took\n\n" + _costs(records))
    return parts


def _accuracies(found: Mapping[Row, Sequence[Point]]) -> str:
    budgets = sorted({point.budget for points in found.values() for point in points}, reverse=True)
    heads = ["method", "candidates", *(f"{b:g}" for b in budgets), "seeds"]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row, points in found.items():
        shown = {point.budget: _shown(point) for point in points}
        seeds = sorted({point.seeds for point in points})
        counts = "–".join(str(count) for count in dict.fromkeys((seeds[0], seeds[-1])))
        lines.append(_line([f"`{row[0]}`", row[1], *(shown.get(b, "–") for b in budgets), counts]))
    return "\n".join(lines)


def _shown(point: Point) -> str:
    difference = "" if point.difference is None else f"<br>{point.difference}"
    return f"{point.accuracy:.2f}{difference}"


def _costs(records: Sequence[Record]) -> str:
    heads = ["method", "candidates", "kept / budget", "divergence", "models run", "choose, s", "fit, s"]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for row in dict.fromkeys((r["method"], r["variant"]) for r in records):
        own = [r for r in records if (r["method"], r["variant"]) == row]
        spent = [r["fraction"] / r["budget"] for r in own]
        values = [
            f"{min(spent):.4f} to {max(spent):.4f}",
            f"{fmean(r['divergence'] for r in own):.3f}",
            f"{fmean(r['evaluations'] for r in own):.0f}",
            f"{fmean(r['seconds_choose'] for r in own):.1f}",
            f"{fmean(r['seconds_fit'] for r in own):.1f}",
        ]
        lines.append(_line([f"`{row[0]}`", row[1], *values]))
    return "\n".join(lines)


def _tuned_table(records: Sequence[Record], budgets: Sequence[float], reference: Row) -> str:
    steps = records[0]["steps"]
    own = [r for r in records if r["budget"] in budgets]
    return f"### Parameters kept; after {steps} steps of fine-tuning\n\n" + _accuracies(
        series(own, reference)
    )


def _line(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"
