"""Further plans from tables alone: for another budget, and for all budgets at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from ranksearch.costs import COSTS, Budget, Cost, Kept, Limits, Part, Shortfall, is_measured, unmet
from ranksearch.errors import BudgetError, InputError, expected
from ranksearch.planning.alignment import aligned
from ranksearch.planning.allocation import analytic, balanced_errors
from ranksearch.planning.greedy import Choice, choice_of, fronts_of, lower_hull, rates, steps_of
from ranksearch.planning.holding import saying_what_holds
from ranksearch.planning.limits import shortfalls, too_small
from ranksearch.planning.network_tables import Tables
from ranksearch.planning.plan import Plan
from ranksearch.planning.plan_file import misfit
from ranksearch.planning.ways_out import ways_out
from ranksearch.timing import AIM

POINTS = 200
"""Plans of a whole front at most."""


@dataclass(frozen=True)
class Further:
    """A plan that nobody has run, and its scores: `error`, and `time_predicted` where its budget is about time."""

    plan: Plan
    scores: dict[str, float]


def further_plan(tables: Tables, budget: Budget, multiples: Sequence[int] = ()) -> Further:
    """The analytic plan for a budget: the one with which a search for the same budget begins.

    Where a limit is about time, the plan is not measured. Its time is predicted from the tables, and corrected by what
    the plans that were measured took. multiples: see `aligned`. Raises BudgetError, which names the limits that bind.
    """
    if not budget.measured:
        with saying_what_holds(tables, budget):
            tables = aligned(tables, budget, multiples)
            plan = _checked(tables, tables.plan(analytic(tables.tables, budget)))
        return Further(plan, {"error": plan.error})
    (limit,) = budget.measured
    share = limit.limit / max(1, limit.dense)
    try:
        choice = analytic(tables.tables, _allowing(tables, budget, share if share >= 1 else AIM * share))
    except BudgetError:  # the margin may be more than what is left
        inner = _allowing(tables, budget, share)
        try:
            choice = analytic(tables.tables, inner)
        except BudgetError as error:
            raise _in_measured_time(tables, budget, inner) from error
    plan = corrected(tables, _checked(tables, tables.plan(choice)))
    predicted = plan.cost.of(limit.metric) / max(1, limit.dense)
    return Further(plan, {"error": plan.error, "time_predicted": predicted})


def _allowing(tables: Tables, budget: Budget, share: float) -> Budget:
    """The budget that tables are held to, for plans that are expected to take a share of the dense model's time."""
    (limit,) = budget.measured
    return budget.allowing(limit.metric, share if tables.times is None else tables.times.predicted(share))


def further_budgets(
    dense: Cost,
    kept: Sequence[Kept],
    of_run: tuple[str, Limits],
    metric: str | None = None,
    limits: Limits | None = None,
    part: Part | None = None,
) -> tuple[Budget, ...]:
    """Budgets of a model that costs `dense`, whose tables have amounts of the same cost metrics.

    of_run: the cost metric of the run's budgets, and its further limits; both hold where neither is given. part: what
    budgets count; None stands for the whole model. Raises InputError for cost metrics that the tables have no amounts
    of.
    """
    if metric is None and limits is None:
        metric, limits = of_run
    own = metric_in(dense, metric or of_run[0])
    also = tuple((metric_in(dense, name), asked) for name, asked in limits or ())
    names = [own, *(name for name, _ in also)]
    if len(set(names)) < len(names):
        raise InputError(expected("limit", "cost metrics other than the budget's, each once", names))
    if len(measured := [name for name in names if is_measured(name)]) > 1:
        raise InputError(expected("limit", "at most one that is about time", measured))
    return tuple(Budget.of(dense, asked, own, also, part) for asked in kept)


def metric_in(dense: Cost, spec: str) -> str:
    """The name of a cost metric that the tables of a model have amounts of. Raises InputError."""
    name = spec if spec in dense.amounts else COSTS.resolve(spec).name
    if name not in dense.amounts:
        counted = (
            "then candidates are timed" if is_measured(name) else "then it is counted for every candidate"
        )
        way_out = (
            f"Run again in another folder with `metric={name}`: {counted}, and moments and candidates come from the "
            "cache."
        )
        wanted = f"{' or '.join(dense.amounts)}, which the run counted"
        raise InputError(expected("metric", wanted, name, way_out))
    return name


def corrected(tables: Tables, plan: Plan) -> Plan:
    """The plan with the times that it is expected to take, in place of the sums of its parts' times."""
    amounts = {
        metric: _corrected(tables, metric, amount) if is_measured(metric) else amount
        for metric, amount in plan.cost.amounts.items()
    }
    return replace(plan, cost=Cost(**amounts))


def whole_front(tables: Tables, metric: str, most: int = POINTS) -> list[Plan]:
    """The front over all budgets in a metric, from the cheapest plan to the dense model, by rising cost.

    Its plans are the optima of the Lagrangian relaxation (Shoham & Gersho 1988): at its own cost none has a smaller sum
    of balanced errors. Of more than `most` plans those at geometrically spaced costs are taken.
    """
    errors = balanced_errors(tables.tables)
    fronts = fronts_of(tables.tables, metric, errors)
    chains = [lower_hull(front) for front in fronts]
    steps = steps_of(fronts, chains, [-rates(f, c) for f, c in zip(fronts, chains, strict=True)])
    least = max(1, sum(int(front.costs[0]) for front in fronts))
    costs = least + np.cumsum([0, *steps.cost])
    goals = np.geomspace(costs[0], max(costs[-1], costs[0]), max(2, most))
    taken = sorted({int(k) for k in np.searchsorted(costs, goals * (1 + 1e-12), side="right") - 1})
    positions, found, done = [chain[0] for chain in chains], list[Choice](), 0
    for count in taken:
        for layer, step in zip(steps.layer[done:count], steps.step[done:count], strict=True):
            positions[layer] = chains[layer][step + 1]
        found.append(choice_of(fronts, positions))
        done = count
    return [corrected(tables, tables.plan(choice)) for choice in found]


def _checked(tables: Tables, plan: Plan) -> Plan:
    """The plan, if its layers can be factorised in that way: tables may come from somebody else."""
    layers = {layer.name: layer for layer in tables.layers}
    for name, found in plan.choices.items():
        if not found.is_dense and (
            wrong := misfit(layers[name], found.decomposition, found.form, found.ranks)
        ):
            raise InputError(expected(f"tables, layer {name}", *wrong))
    return plan


def _corrected(tables: Tables, metric: str, amount: float) -> int:
    """A time that tables predict for a whole model, as it is expected to be measured."""
    dense = tables.dense.of(metric)
    if tables.times is None or not dense:
        return ceil(amount)
    return max(0, ceil(tables.times.measured(amount / dense) * dense))


def _in_measured_time(tables: Tables, budget: Budget, inner: Budget) -> BudgetError:
    """The error for a budget whose limit on a time is another one for the tables: with times as they are measured."""

    def told(found: Shortfall) -> Shortfall:
        own = next(each for each in budget.every if each.metric == found.limit.metric)
        measured = own.metric in {each.metric for each in budget.measured}
        return Shortfall(own, _corrected(tables, own.metric, found.least) if measured else found.least)

    alone = too_small(tables.tables, inner)
    together = () if alone else shortfalls(tables.tables, inner.every)
    allow = ways_out(tables.tables, budget.metric)
    return unmet(budget, list(map(told, alone)), list(map(told, together)), allow)
