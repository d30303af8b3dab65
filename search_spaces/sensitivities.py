"""A few multipliers on balanced errors; the allocator turns each trial into a plan that meets the budget."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from optuna.trial import BaseTrial

from ranksearch.costs import Budget
from ranksearch.planning import Choice, Table, balanced_errors, knapsack
from ranksearch.search_spaces.base import Params, SearchSpace
from ranksearch.search_spaces.groups import by_stage

# The analytic plan is good, and the held-out divergence varies irregularly around it: on ResNet-20 at 0.3 and 0.2 of
# the parameters the best of forty trials within these ranges is 12 to 21 % below it, within ranges twice as
# wide 0 to 16 %.
LAYER_RANGE = (0.6, 1.7)
DECOMPOSITION_RANGE = (0.7, 1.4)
EXPONENT_RANGE = (0.8, 1.3)


class Sensitivities(SearchSpace):
    """A balanced error e becomes (group's multiplier) · (decomposition's multiplier) · e ** exponent.

    `layers NAME` is the multiplier of a group, a stage of the network; `svd` and so on are those of decompositions.
    Only ratios matter to the allocator, so the first group and the first decomposition have the fixed multiplier 1
    and no parameter. At 1 everywhere the plan is the analytic one.
    """

    name = "sensitivities"

    def __init__(self, tables: Sequence[Table], budget: Budget) -> None:
        super().__init__(tables, budget)
        self.groups = by_stage([table.layer.name for table in self.tables])
        used = {c.decomposition for table in self.tables for c in table.candidates if not c.is_dense}
        self.decompositions = sorted(used)

    @cached_property
    def _errors(self) -> list[NDArray[np.float64]]:
        return [np.maximum(errors, 0.0) for errors in balanced_errors(self.tables)]

    @cached_property
    def _kinds(self) -> list[NDArray[np.intp]]:
        """Per table, the index of each candidate's decomposition; arbitrary for the dense layer, whose ε is 0."""
        number = {name: k for k, name in enumerate(self.decompositions)}
        return [np.array([number.get(c.decomposition, 0) for c in table.candidates]) for table in self.tables]

    def suggest(self, trial: BaseTrial) -> Choice:
        layer = np.ones(len(self.tables))
        for group, members in list(self.groups.items())[1:]:
            layer[members] = trial.suggest_float(f"layers {group}", *LAYER_RANGE, log=True)
        kind = np.ones(max(1, len(self.decompositions)))
        for k, name in list(enumerate(self.decompositions))[1:]:
            kind[k] = trial.suggest_float(name, *DECOMPOSITION_RANGE, log=True)
        exponent = trial.suggest_float("exponent", *EXPONENT_RANGE)
        errors = [
            scale * kind[kinds] * own**exponent
            for scale, kinds, own in zip(layer, self._kinds, self._errors, strict=True)
        ]
        return knapsack(self.tables, self.budget, errors=errors)

    def express(self, choice: Choice) -> Params | None:
        if choice != self.analytic:
            return None
        groups = [f"layers {group}" for group in list(self.groups)[1:]]
        return dict.fromkeys([*groups, *self.decompositions[1:], "exponent"], 1.0)
