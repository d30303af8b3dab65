"""Two rules that several methods share: one level for all layers, and one price for all layers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ranksearch.planning import Choice, Front, choice_of, lower_hull, rates, top_up, walk, whole
from ranksearch.searching.baselines.base import Context


def level_keys(fronts: list[Front]) -> list[NDArray[np.float64]]:
    """Keys of the steps of fronts such that the layer with the largest measure moves first."""
    return [-front.errors[:-1] for front in fronts]


def least_level(context: Context, measures: list[NDArray[np.float64]]) -> Choice:
    """Min-max: the smallest level such that every layer's cheapest candidate at or below it fits the budget.

    `measures` has one number per candidate, comparable between layers, 0 for the dense layer. The rest
    is spent on the layer with the largest measure whose next candidate fits, repeatedly. Raises BudgetError.
    """
    fronts = context.fronts(measures)
    found = walk(fronts, whole(fronts), level_keys(fronts), context.room(fronts))
    return choice_of(fronts, found.positions)


def one_price(context: Context, errors: list[NDArray[np.float64]]) -> Choice:
    """Lagrangian relaxation: every layer minimises error + λ · cost, with the least λ that meets the budget.

    The rest is spent on single layers, the most error saved per cost first. Raises BudgetError.
    """
    fronts = context.fronts(errors)
    room = context.room(fronts)
    chains = [lower_hull(front) for front in fronts]
    keys = [-rates(front, chain) for front, chain in zip(fronts, chains, strict=True)]
    return choice_of(fronts, top_up(fronts, walk(fronts, chains, keys, room).positions, room))
