"""One integer per layer, the budget as a constraint: the raw space, for comparison."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.trial import BaseTrial

from ranksearch.costs import Budget
from ranksearch.planning import Choice, Table, layer_front
from ranksearch.search_spaces.base import Params, SearchSpace


class Ranks(SearchSpace):
    """The index, from 1, into each layer's candidates in order of cost.

    This is the rank itself if a single decomposition with one rank is allowed. Candidates that another dominates
    in cost and ε are left out. Most plans of this space exceed the budget; they carry the constraint `budget`
    > 0, which the samplers learn from.
    """

    name = "ranks"

    def __init__(self, tables: Sequence[Table], budget: Budget) -> None:
        super().__init__(tables, budget)
        self._fronts = [layer_front(table, budget.metric) for table in self.tables]

    def suggest(self, trial: BaseTrial) -> Choice:
        choice, cost = [], self.budget.dense
        for table, front in zip(self.tables, self._fronts, strict=True):
            place = trial.suggest_int(f"rank {table.layer.name}", 1, len(front.indices)) - 1
            choice.append(int(front.indices[place]))
            cost += int(front.costs[place]) - table.dense.of(self.budget.metric)
        trial.set_constraint("budget", cost / self.budget.limit - 1)
        return tuple(choice)

    def express(self, choice: Choice) -> Params | None:
        params: Params = {}
        for table, front, index in zip(self.tables, self._fronts, choice, strict=True):
            places = np.flatnonzero(front.indices == index)
            if not len(places):
                return None
            params[f"rank {table.layer.name}"] = int(places[0]) + 1
        return params
