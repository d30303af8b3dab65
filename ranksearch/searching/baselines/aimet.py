"""`aimet`: every layer alone at nine cost ratios, then one score for all layers that meets the budget.

AIMET, AI Model Efficiency Toolkit, Qualcomm Innovation Center, 2020, "greedy compression ratio selection" of its
spatial and weight SVD: the model is evaluated with one layer at a time compressed to 0.1, 0.2, … 0.9 of its
cost; scores are made monotone in the ratio; a bisection finds the score at which every layer takes its
smallest ratio that does no worse. Its score is an accuracy on labelled images, here it is the divergence. The
cheapest candidate is evaluated in addition to the nine, so that budgets below a tenth can be met.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ranksearch.planning import CandidateConfig, Choice, Front, choice_of, walk, walk_on
from ranksearch.searching.baselines.base import Allocator, Context

RATIOS = tuple(k / 10 for k in range(1, 10))


def aimet(context: Context) -> Choice:
    """One score for all layers; the rest is spent between the ratios, by interpolated scores."""
    fronts = context.fronts()
    room = context.room(fronts)
    chains, scores = [], []
    for layer, front in enumerate(fronts):
        chain = rungs(front, context.problem.tables[layer].dense.of(context.budget.metric))
        chains.append(chain)
        scores.append(monotone([_alone(context, fronts, layer, p) for p in chain]))
    found = walk(fronts, chains, [-score[:-1] for score in scores], room)
    between = [
        -np.interp(front.costs[:-1], front.costs[chain], score)
        for front, chain, score in zip(fronts, chains, scores, strict=True)
    ]
    return choice_of(fronts, walk_on(fronts, found.positions, between, room))


def rungs(front: Front, cost: int) -> list[int]:
    """Positions on a front closest below each ratio of a layer's cost, including the cheapest and the best."""
    within = [int(np.searchsorted(front.costs, ratio * cost, side="right")) - 1 for ratio in RATIOS]
    return sorted({0, *(p for p in within if p >= 0), len(front.indices) - 1})


def monotone(scores: list[float]) -> NDArray[np.float64]:
    """Divergences made non-increasing in the cost: the minimum so far, from cheap to expensive; finite."""
    found = np.minimum.accumulate(np.nan_to_num(np.array(scores), nan=1e9, posinf=1e9))
    return np.asarray(np.minimum(found, 1e9))


def _alone(context: Context, fronts: list[Front], layer: int, position: int) -> float:
    """Divergence with one layer compressed and the others at their best."""
    choice = [int(front.indices[-1]) for front in fronts]
    if position == len(fronts[layer].indices) - 1:
        return 0.0
    choice[layer] = int(fronts[layer].indices[position])
    return context.evaluate(tuple(choice))


AIMET = Allocator(
    "aimet", aimet, CandidateConfig(decompositions=("spatial_svd", "svd"), error="plain"), evaluates=True
)
