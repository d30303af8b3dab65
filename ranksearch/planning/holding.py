"""Why a budget cannot be met: what of a model no plan changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ranksearch.costs import Budget, layers_cost, shown, unit_of
from ranksearch.errors import BudgetError
from ranksearch.networks import met_again, take_inventory
from ranksearch.planning.greedy import fixed_cost, least_cost
from ranksearch.planning.network_tables import Tables

NAMED = 3
"""Parts of a model that are named."""


@contextmanager
def saying_what_holds(tables: Tables, budget: Budget, model: nn.Module | None = None) -> Iterator[None]:
    """A BudgetError that is raised in it also says what of a model is not factorised, where that is most of what the
    cheapest plan costs. model: tells of modules that are no layers, which are else counted together."""
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
    parts = _parts(tables, metric, model) if tables.part is None else []
    parts = sorted((part for part in parts if part[0]), reverse=True)
    named = [f"{name} ({shown(metric, amount)}{reason})" for amount, name, reason in parts[:NAMED]]
    names = f": {', '.join(named)}{', …' * (len(parts) > NAMED)}" if named else ""
    amounts = f"Of the {shown(metric, least)} {unit_of(metric)}, {shown(metric, fixed)}"
    return f"{amounts} are not in layers that can be factorised{names}."


def _parts(tables: Tables, metric: str, model: nn.Module | None) -> list[tuple[int, str, str]]:
    """What is not factorised: what it costs, what it is, and why. Without a model weights that layers share count
    with each, and modules that are no layers are left out."""
    able = {table.layer.name for table in tables.tables}
    again = set() if model is None else met_again(model, tables.layers)
    found = [
        (layers_cost([x], again, (metric,)).of(metric), x.name, f": {x.reason}" if x.reason else "")
        for x in tables.layers
        if x.name not in able
    ]
    if model is not None and metric == "params":
        found += [(other.params, other.kind, "") for other in take_inventory(model, tables.layers).others]
    return found
