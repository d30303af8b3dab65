"""The picture of a whole front: error and task metric against the budget."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranksearch.costs import is_measured, unit_of
from ranksearch.drawing import new_figure, plain, save_figure
from ranksearch.runs.front_rows import FrontRow


def draw_front(
    path: Path, rows: Sequence[FrontRow], *, metric: str, model: str | None, task_metric: str, of: str = ""
) -> None:
    """Draw the front as predicted, and above it what delivered models were measured to have.

    of: the part that budgets count, ` in blocks`; nothing where that is the whole model.
    """
    delivered = [row for row in rows if row.delivered is not None]
    role = "test" if any("test" in row.scores for row in delivered) else "validation"
    scored = [row for row in delivered if role in row.scores and row.budget > 0]
    heights = {"height_ratios": (3, 2)} if scored else {}
    figure, axes = new_figure(1, 1 + bool(scored), 7.2, 6.6 if scored else 4.2, sharex=True, **heights)
    _errors(axes[0], rows, delivered)
    if scored:
        _accuracies(axes[1], scored, role, task_metric)
    axes[0].set_title(
        plain(f"{model or 'model'}: the front over all budgets of {_counted(metric)}"), fontsize=11
    )
    axes[-1].set_xlabel(plain(f"{_counted(metric)} kept, as a share of the dense model's{of}"))
    axes[-1].set_xscale("log")
    least = min((row.budget for row in rows if row.budget > 0), default=0.01)
    ticks = [t for t in (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0) if t >= least]
    axes[-1].set_xticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes[-1].minorticks_off()
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, loc="best")
    save_figure(figure, path)


def _counted(metric: str) -> str:
    """What a budget is a share of."""
    return metric if is_measured(metric) else unit_of(metric)


def _errors(axis: Any, rows: Sequence[FrontRow], delivered: Sequence[FrontRow]) -> None:
    line = [row for row in rows if row.delivered is None and row.error and row.budget > 0]
    axis.plot([r.budget for r in line], [r.error for r in line], color="C0", label="predicted, sum of ε")
    found = [row for row in delivered if row.divergence and row.budget > 0]
    if found:
        axis.plot(
            [r.budget for r in found],
            [r.divergence for r in found],
            "D",
            color="C3",
            label="delivered, as measured",
        )
    for row in found:
        axis.annotate(
            plain(row.delivered or ""),
            (row.budget, row.divergence),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=9,
        )
    axis.set_yscale("log")
    axis.set_ylabel("divergence from the dense model\n(units of the loss)")


def _accuracies(axis: Any, scored: Sequence[FrontRow], role: str, task_metric: str) -> None:
    axis.errorbar(
        [row.budget for row in scored],
        [row.scores[role] for row in scored],
        [row.scores.get(f"{role}_stderr", 0.0) for row in scored],
        fmt="D",
        color="C3",
        capsize=3,
        label=f"delivered, on {role} images, with standard errors",
    )
    axis.set_ylabel(plain(task_metric))
