"""Layers of equal shape share one level; levels are scaled together until the plan meets the budget."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from optuna.trial import BaseTrial

from ranksearch.costs import Budget
from ranksearch.planning import Choice, Table, uniform
from ranksearch.search_spaces.base import Params, SearchSpace
from ranksearch.search_spaces.groups import by_shape

LEVELS = 10


class Grouped(SearchSpace):
    """One integer level per group of layers: a layer keeps a fraction of its cost proportional to its level.

    The common factor is the largest that the budget allows, so every plan meets it. The analytic plan
    is not in this space; equal levels give the uniform plan.
    """

    name = "grouped"

    def __init__(self, tables: Sequence[Table], budget: Budget) -> None:
        super().__init__(tables, budget)
        self.groups = by_shape([table.layer for table in self.tables])

    def suggest(self, trial: BaseTrial) -> Choice:
        weights = [1.0] * len(self.tables)
        for group, members in self.groups.items():
            level = trial.suggest_int(f"level {group}", 1, LEVELS)
            for index in members:
                weights[index] = level / LEVELS
        return uniform(self.tables, self.budget, weights=weights)

    @cached_property
    def _uniform(self) -> Choice:
        # The same levels as `express`, so that rounding cannot make the two differ.
        weights = [(LEVELS // 2) / LEVELS] * len(self.tables)
        return uniform(self.tables, self.budget, weights=weights)

    def express(self, choice: Choice) -> Params | None:
        if choice != self._uniform:
            return None
        return {f"level {group}": LEVELS // 2 for group in self.groups}
