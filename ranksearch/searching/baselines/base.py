"""The interface of baselines: they pick one candidate per table under a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ranksearch.costs import Budget
from ranksearch.planning import CandidateConfig, Choice, Front, Problem, fronts_of, room_for


@dataclass
class Evaluations:
    """Scores of plans, lower is better, each measured once; `used` counts the requested plans.

    `known` may be shared between allocations that measure in the same way: plans measured by one of them are not
    run again by the others, but still count as used.
    """

    score: Callable[[Choice], float]
    known: dict[Choice, float] = field(default_factory=dict)
    _asked: set[Choice] = field(default_factory=set)

    @property
    def used(self) -> int:
        return len(self._asked)

    def __call__(self, choice: Choice) -> float:
        self._asked.add(choice)
        if choice not in self.known:
            self.known[choice] = self.score(choice)
        return self.known[choice]


@dataclass(frozen=True)
class Context:
    """What a baseline may use to choose a plan within the budget.

    `evaluate` runs the model with a plan and scores it, lower is better; methods that search may use
    `evaluations` of these. `seed` is for all random numbers.
    """

    problem: Problem
    budget: Budget
    evaluate: Evaluations
    seed: int = 0
    evaluations: int = 40

    def fronts(self, errors: list[NDArray[np.float64]] | None = None) -> list[Front]:
        """The Pareto front of each table in (cost, error), by `errors` instead of the table's own if given."""
        return fronts_of(self.problem.tables, self.budget.metric, errors)

    def room(self, fronts: list[Front]) -> int:
        """The limit on the total cost of the layers. Raises BudgetError."""
        return room_for(self.problem.tables, fronts, self.budget)


@dataclass(frozen=True)
class Allocator:
    """A way to choose ranks. Registered under its name in `ranksearch.searching.baselines.ALLOCATORS`.

    `allocate` picks one candidate per table, never above the limit; it raises BudgetError if there is no
    such plan. `published` describes the candidates that the method was published with: a layer gets the first of
    its decompositions that applies, see `prepare_published`. weighs: whether it uses the weights of layers.
    evaluates: whether it runs the model with plans.
    """

    name: str
    allocate: Callable[[Context], Choice]
    published: CandidateConfig = field(default_factory=CandidateConfig)
    weighs: bool = False
    evaluates: bool = False
