"""The interface of search spaces: they turn an Optuna trial into a plan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar

from optuna.trial import BaseTrial

from ranksearch.costs import Budget
from ranksearch.planning import Choice, Table, analytic

Params = dict[str, Any]


class SearchSpace(ABC):
    """Plans of one set of tables under one budget.

    Registered under its name in `ranksearch.search_spaces.SEARCH_SPACES`. A plan above the budget must be
    marked by `trial.set_constraint("budget", cost / budget.limit - 1)`, in every trial of such a space.
    """

    name: ClassVar[str]

    def __init__(self, tables: Sequence[Table], budget: Budget) -> None:
        self.tables = tuple(tables)
        self.budget = budget

    @abstractmethod
    def suggest(self, trial: BaseTrial) -> Choice:
        """One candidate per table, from the parameters that the trial suggests."""

    @abstractmethod
    def express(self, choice: Choice) -> Params | None:
        """Parameters that yield exactly this choice; None if there are none."""

    def initial(self) -> Params | None:
        """Parameters that yield the analytic plan; None if there are none."""
        return self.express(self.analytic)

    @cached_property
    def analytic(self) -> Choice:
        """The plan with the least sum of balanced errors within the budget."""
        return analytic(self.tables, self.budget)
