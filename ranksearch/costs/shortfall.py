"""The message about a budget that no plan meets: which limits, and what can be met instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ranksearch.costs.budget import Budget
from ranksearch.costs.part import part_in_words
from ranksearch.costs.registry import is_measured, shown, unit_of
from ranksearch.errors import BudgetError, expected


@dataclass(frozen=True)
class Shortfall:
    """A limit that is not met, and the least that a whole model can cost in its metric."""

    limit: Budget
    least: int

    @property
    def wanted(self) -> str:
        """`0.2250 (900 of 4,000 FLOPs)`: the smallest to ask for."""
        metric = self.limit.metric
        amounts = [shown(metric, self.limit.counted(amount)) for amount in (self.least, self.limit.dense)]
        unit = unit_of(metric) + (
            "" if self.limit.part is None else f" of {part_in_words(self.limit.part.asked)}"
        )
        predicted = ", predicted" if is_measured(metric) else ""
        return f"{self.limit.smallest(self.least)} ({amounts[0]} of {amounts[1]} {unit}{predicted})"


def unmet(
    budget: Budget,
    alone: Sequence[Shortfall],
    together: Sequence[Shortfall] = (),
    allow: Sequence[str] = (),
) -> BudgetError:
    """The error for a budget.

    alone: limits that cannot be met even on their own. together: limits that can, but not all at once; `least` is what
    is feasible given the others. allow: what would make plans smaller.
    """
    other = f", or allow {_listed(allow, 'or')}." if allow else "."
    if alone:
        return BudgetError("\n".join(_too_small(budget, each, other) for each in alone))
    asked = _listed([f"{each.metric} {each.name}" for each in budget.every], "and")
    found = [f"{each.limit.metric} {each.wanted}" for each in together]
    given = f"With the others as they are, {_listed(found, 'or')} can be met. " if found else ""
    way_out = f"{given}Raise one of them{other}"
    return BudgetError(expected("budget", "limits that can be met together", asked, way_out))


def _too_small(budget: Budget, found: Shortfall, other: str) -> str:
    limit = found.limit
    what, metric = ("budget", "") if limit.metric == budget.metric else ("limit", f"{limit.metric} ")
    way_out = f"Raise the {what}{other}"
    got = f"{limit.name} ({shown(limit.metric, limit.counted(limit.limit))})"
    return expected(what, f"{metric}at least {found.wanted}", got, way_out)


def _listed(parts: Sequence[str], word: str) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f"{', '.join(parts[:-1])} {word} {parts[-1]}" if len(parts) > 1 else "".join(parts)
