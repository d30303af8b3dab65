"""Why a budget cannot be met: what of a model no plan changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ranksearch.costs import Budget, layers_cost, shown, unit_of
from ranksearch.errors import BudgetError
from ranksearch.networks import Layer, met_again, take_inventory
from ranksearch.planning.greedy import fixed_cost, least_cost
from ranksearch.planning.network_tables import Tables
from ranksearch.planning.part import OUTSIDE

NAMED = 3
"""Parts of a model that are named."""


@contextmanager
def saying_what_holds(tables: Tables, budget: Budget, model: nn.Module | None = None) -> Iterator[None]:
    """A BudgetError that is raised in it also says what of a model is not factorised, where that is most of what the
    cheapest plan costs. model: tells of modules that are no layers; else they are counted together."""
    try:
        yield
    except BudgetError as error:
        lines = [held for each in budget.every if (held := held_up(tables, each, model))]
        raise BudgetError(" ".join([str(error), *lines])) from error


def held_up(tables: Tables, budget: Budget, model: nn.Module | None = None) -> str:
    """What no plan changes, by name, if a limit is below the cheapest plan and most of that is of this kind."""
    metric = budget.metric
    least = budget.counted(least_cost(tables.tables, budget))
    fixed = budget.counted(fixed_cost(tables.tables, budget))
    if budget.counted(budget.limit) >= least or 2 * fixed <= least:
        return ""
    able = {table.layer.name for table in tables.tables}
    outside = [layer for layer in tables.layers if layer.name not in able and _counts(layer)]
    again = set() if model is None else met_again(model, tables.layers)
    parts = [
        (layers_cost([x], again, (metric,)).of(metric), x.name, f": {x.reason}" if x.reason else "")
        for x in outside
    ]
    if model is not None and metric == "params":
        parts += [(other.params, other.kind, "") for other in take_inventory(model, tables.layers).others]
    parts = sorted((part for part in parts if part[0]), reverse=True)
    named = [f"{name} ({shown(metric, amount)}{reason})" for amount, name, reason in parts[:NAMED]]
    names = f": {', '.join(named)}{', …' * (len(parts) > NAMED)}" if named else ""
    amounts = f"Of the {shown(metric, least)} {unit_of(metric)}, {shown(metric, fixed)}"
    return f"{amounts} are not in layers that can be factorised{names}."


def _counts(layer: Layer) -> bool:
    return not (layer.reason or "").startswith(OUTSIDE)
