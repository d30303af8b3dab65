"""AIMET's greedy scores: what a model scores with one layer alone at each ratio, and the plan within a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import Any

from ranksearch.costs import Budget, Cost, chain_cost, layer_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import BudgetError, InputError, expected
from ranksearch.interchange.from_ranks import ImportedRanks, Wanted, check_named
from ranksearch.networks import Layer
from ranksearch.planning import Plan
from ranksearch.records import shortened

Scores = Mapping[float, float]
"""Of one layer: by the share of its cost that it keeps, the score of the model; higher is better."""


@dataclass(frozen=True)
class AimetScores:
    """Scores by layer and ratio, as AIMET's greedy selection of ratios for spatial SVD keeps them."""

    scores: Mapping[str, Scores]

    def plan(self, layers: Sequence[Layer], dense: Cost, budget: Budget) -> Plan:
        """The plan of AIMET's rule: one score for all layers, each of which takes its smallest ratio before one that
        scores less; the highest such score within the budget. A ratio gives the largest rank that it has room for, of
        `spatial_svd` where that applies, else of `svd`.

        Raises BudgetError where the smallest ratios of all layers exceed the budget, and MismatchError for layers that
        the model does not have.
        """
        check_named(self.scores, layers)
        known = {layer.name: layer for layer in layers}
        levels = sorted({score for own in self.scores.values() for score in own.values()})
        for level in (inf, *reversed(levels)):
            ratios = {name: ratio_at(own, level) for name, own in self.scores.items()}
            wanted = {name: _wanted(known[name], ratio) for name, ratio in ratios.items() if ratio < 1}
            plan = ImportedRanks(wanted).plan(layers, dense)
            if budget.met_by(plan.cost):
                return plan
        got = f"{budget.name}, less than {plan.cost.of(budget.metric):,} at the smallest ratios of all layers"
        raise BudgetError(expected("budget", "one that the ratios of the scores can meet", got))


def ratio_at(scores: Scores, level: float) -> float:
    """The ratio that a layer takes at a level: the smallest before one that scores less, 1 where the largest does."""
    kept = 1.0
    if scores[min(scores)] >= level:
        return min(scores)
    for ratio in sorted(scores, reverse=True):
        if scores[ratio] < level:
            return kept
        kept = ratio
    return kept


def _wanted(layer: Layer, ratio: float) -> Wanted:
    """The largest rank whose weights are at most that share of the dense layer's, at least 1."""
    name = "spatial_svd" if DECOMPOSITIONS.get("spatial_svd").forms(layer) else "svd"
    known = DECOMPOSITIONS.get(name)
    (most,) = known.max_ranks(layer, "")
    biases = layer.out_channels * layer.bias
    # Of both decompositions the weights are proportional to the rank.
    weights = chain_cost(layer, known.chain(layer, "", (1,))).params - biases
    room = ratio * (layer_cost(layer).params - biases)
    return Wanted(name, "", (max(1, min(most, int(room / weights * (1 + 1e-12)))),))


def is_scores(data: Mapping[str, Any]) -> bool:
    """Whether JSON holds scores: `{layer: {ratio: score}}`."""
    return bool(data) and all(
        isinstance(own, dict) and own and all(map(_is_number, own)) for own in data.values()
    )


def parse_scores(path: Path, data: Mapping[str, Any]) -> AimetScores:
    """The scores that JSON holds. Raises InputError that names the file, the layer and the ratio."""
    found = {}
    for name, own in data.items():
        for ratio, score in own.items():
            if not 0 < float(ratio) < 1:
                raise InputError(expected(f"{path}, {shortened(name)}", "ratios between 0 and 1", ratio))
            if isinstance(score, bool) or not isinstance(score, int | float):
                what = f"{path}, {shortened(name)}, {ratio}"
                raise InputError(expected(what, "a score", shortened(repr(score))))
        found[name] = {float(ratio): float(score) for ratio, score in own.items()}
    return AimetScores(found)


def _is_number(text: str) -> bool:
    try:
        return isfinite(float(text))
    except ValueError:
        return False
