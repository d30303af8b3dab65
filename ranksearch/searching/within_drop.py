"""The smallest budget whose model loses no more than it may: a bisection on the predicted error of budgets.

A model keeps to a largest drop where the upper end of a confidence interval of its drop does, on data that nothing was
fitted to. Looking at several models and taking the smallest that keeps to it gives chance several chances, so the
confidence is divided among all looks that may be made (Bonferroni): whatever they were, the chosen model loses more
than it may with a probability of at most 1 − `CONFIDENCE`. Nothing is assumed of how the drop depends on the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, floor, isfinite, log, log10
from typing import Generic, TypeVar

from ranksearch.costs import Budget, Kept
from ranksearch.errors import BudgetError, InputError, expected
from ranksearch.planning import Problem, analytic, least_cost
from ranksearch.searching.settings import SearchSettings
from ranksearch.tasks import Drop, Task, least_upper, top1

LOOKS = 6
"""Models that are made at most."""

CONFIDENCE = 0.975
"""That the chosen model keeps to the drop, one-sided, over all looks."""

POINTS = 16
"""Budgets whose error is predicted."""

LARGEST = 0.98
"""The largest budget that is tried, as a fraction."""

AIM = 0.95
"""What a next model is to use up of the drop."""

CLOSE = 1.04
"""Where the smallest budget that keeps to the drop is at most this many times one that does not, it is good enough."""

NARROWEST = 0.2
"""A look cuts at least this share off the errors that are left, at either end."""

Curve = Sequence[tuple[float, float]]
"""Budgets, as fractions, with the predicted errors of their plans; the errors fall as the budgets rise."""

Made = TypeVar("Made")


@dataclass(frozen=True)
class Look(Generic[Made]):
    """A model that was made for a budget, what it loses, the bound of that, and whether it is within what it may."""

    budget: Kept
    made: Made
    drop: Drop
    bound: float
    kept: bool


@dataclass(frozen=True)
class WithinDrop(Generic[Made]):
    """All looks, and the chosen one: the smallest budget that keeps to the drop, else the one with the least bound."""

    looks: tuple[Look[Made], ...]
    chosen: Look[Made]


def look_confidence() -> float:
    """The confidence of the bound of a single look."""
    return 1 - (1 - CONFIDENCE) / LOOKS


def smallest_within(
    curve: Curve, make: Callable[[Kept], tuple[Made, Drop]], max_drop: float
) -> WithinDrop[Made]:
    """Make models for budgets until the smallest that keeps to a drop is known, or the looks are used up.

    curve: see `predicted_errors`. make: makes a model and says what it loses. Raises BudgetError where no model can be
    made for any budget.
    """
    looks: list[Look[Made]] = []
    passing: tuple[float, float | None] | None = None  # the smallest budget that keeps to it, and its bound
    failing: tuple[float, float | None] | None = None  # the largest below that does not
    unmet: BudgetError | None = None
    for _ in range(LOOKS):
        share = _next(curve, passing, failing, max_drop)
        if share is None:
            break
        try:
            made, drop = make(Kept(fraction=share))
        except BudgetError as error:  # of a limit, or a time, that only a measured plan tells of
            unmet, failing = error, (share, None)
            continue
        bound = drop.upper(look_confidence())
        looks.append(Look(Kept(fraction=share), made, drop, bound, bound <= max_drop))
        if bound <= max_drop:
            passing = share, bound
        else:
            failing = share, bound
    if not looks:
        raise unmet or BudgetError(expected("budget", "one that a plan meets", "none"))
    kept = [look for look in looks if look.kept]
    chosen = (
        min(kept, key=lambda look: look.budget.fraction or 0.0)
        if kept
        else min(looks, key=lambda look: (look.bound, -(look.budget.fraction or 0.0)))
    )
    return WithinDrop(tuple(looks), chosen)


def predicted_errors(problem: Problem, settings: SearchSettings) -> Curve:
    """The errors of the analytic plans of budgets from the smallest that can be met to nearly the whole model."""
    whole = Budget.of(problem.dense, 1.0, settings.metric, settings.limits, problem.part)
    least = whole.share(least_cost(problem.tables, whole) + 1)
    if least >= LARGEST:
        got = f"{least:.3f} for the smallest plan"
        raise BudgetError(expected("budget", f"plans for less than {LARGEST:g} of the model", got))
    curve: list[tuple[float, float]] = []
    for k in range(POINTS):
        share = least * (LARGEST / least) ** (k / (POINTS - 1))
        budget = whole.keeping(share)
        try:
            error = problem.plan(analytic(problem.tables, budget)).error
        except BudgetError:
            if k == POINTS - 1:
                raise
            continue
        if error > 0 and (not curve or error < curve[-1][1]):
            curve.append((share, error))
    if not curve:
        raise BudgetError(expected("budget", "plans that change the model", "none"))
    return tuple(curve)


def check_max_drop(task: Task, max_drop: float) -> None:
    """Raise InputError where a drop cannot be held against the validation data of a task, however small it is."""
    if not (isinstance(max_drop, int | float) and isfinite(max_drop) and max_drop > 0):
        raise InputError(expected("max_drop", "a positive number", max_drop))
    dataset = task.dataset("validation")
    first = task.first("validation")
    if dataset is None or first is None or first[1] is None:
        way_out = "Give the data a validation set, or see `val_split`."
        raise InputError(expected("max_drop", "labelled validation data", "none", way_out))
    count = len(dataset)  # type: ignore[arg-type]
    if task.metric_fn is top1:
        least = least_upper(count, 100.0, look_confidence())
        if least > max_drop:
            wanted = (
                f"at least {_rounded_up(least):g}, the least drop that {count:,} validation examples can show"
            )
            way_out = "Use more validation data (`val_split`), or allow a larger drop."
            raise InputError(expected("max_drop", wanted, f"{max_drop:g}", way_out))


def _next(
    curve: Curve,
    passing: tuple[float, float | None] | None,
    failing: tuple[float, float | None] | None,
    max_drop: float,
) -> float | None:
    """The budget to try next: between a failing and a passing one, in the logarithm of the predicted error.

    Where both bounds are known it is the point at which the line through them comes to the drop (regula falsi, in
    logarithms), kept away from both ends; else the middle. None where no budget is left between them.
    """
    if passing and failing and passing[0] <= CLOSE * failing[0]:
        return None
    near = log(curve[-1][1]) if passing is None else _error_at(curve, passing[0])
    far = log(curve[0][1]) if failing is None else _error_at(curve, failing[0])
    way = 0.5
    if passing and failing and passing[1] and failing[1] and passing[1] > 0 and isfinite(failing[1]):
        low, high = log(passing[1]), log(failing[1])
        way = (log(AIM * max_drop) - low) / (high - low) if high > low else 0.5
        way = min(max(way, NARROWEST), 1 - NARROWEST)
    share = _rounded(_budget_at(curve, near + way * (far - near)))
    top = LARGEST if passing is None else passing[0]
    bottom = curve[0][0] if failing is None else failing[0]
    if failing is not None and share <= bottom:
        share = _step(bottom, 1)
    if passing is not None and share >= top:
        share = _step(top, -1)
    within = (share > bottom if failing else share >= bottom) and (
        share < top if passing else share <= max(top, LARGEST)
    )
    return share if within else None


def _error_at(curve: Curve, share: float) -> float:
    """The logarithm of the predicted error of a budget, along lines between the points of the curve."""
    below = [(log(b), log(e)) for b, e in curve]
    return _along(below, log(share))


def _budget_at(curve: Curve, error: float) -> float:
    return exp(_along([(log(e), log(b)) for b, e in reversed(curve)], error))


def _along(points: Sequence[tuple[float, float]], x: float) -> float:
    """Linear interpolation; the ends count beyond them."""
    if x <= points[0][0]:
        return points[0][1]
    for (x0, y0), (x1, y1) in pairwise(points):
        if x <= x1:
            return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
    return points[-1][1]


def _unit(share: float) -> float:
    return 10.0 ** (floor(log10(share)) - 1)


def _rounded(share: float) -> float:
    """Two significant digits: budgets are named for them, and chance is no finer."""
    return round(share, 1 - floor(log10(share)))


def _step(share: float, count: int) -> float:
    """The next number of two significant digits."""
    return _rounded(share + count * _unit(share))


def _rounded_up(value: float) -> float:
    unit = _unit(value)
    return (floor(value / unit) + 1) * unit
