"""What every budget would cost and is predicted to lose, as rows and as a figure."""

from __future__ import annotations

from typing import Any

from ranksearch.costs import Budget, part_in_words, unit_of
from ranksearch.drawing import new_figure, plain
from ranksearch.planning import Plan, Tables, whole_front


def outlook(tables: Tables, metric: str) -> list[dict[str, float]]:
    """The front over all budgets in a cost metric, by rising cost: `budget`, a fraction of what counts, the costs, and
    `error`, ε."""
    return [
        {"budget": tables.share(plan.cost, metric), **plan.cost.amounts, "error": plan.error}
        for plan in whole_front(tables, metric)
    ]


def draw_outlook(tables: Tables, budget: Budget, plan: Plan) -> Any:
    """A matplotlib figure of the front over all budgets, with one plan on it."""
    rows = [row for row in outlook(tables, budget.metric) if row["error"] > 0]
    figure, (axis,) = new_figure(1, 1, 6.4, 4.0)
    axis.plot([row["budget"] for row in rows], [row["error"] for row in rows], label="all budgets, predicted")
    if plan.error > 0:
        share = tables.share(plan.cost, budget.metric)
        axis.plot([share], [plan.error], "D", color="C3", label=plain(f"budget {budget.name}"))
    of = (
        "the dense model's"
        if tables.part is None
        else f"the dense model's in {part_in_words(tables.part.asked)}"
    )
    axis.set_xlabel(plain(f"{unit_of(budget.metric)} kept, as a share of {of}"))
    axis.set_ylabel("sum of ε (units of the loss)")
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False)
    return figure
