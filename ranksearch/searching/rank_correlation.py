"""How reliable a cheap score is: does it rank plans as the next more expensive one does?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

from scipy.stats import spearmanr

from ranksearch.costs import Budget
from ranksearch.objectives import scores_by_price
from ranksearch.searching.front import Evaluated, merged

_FEWEST = 4


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's rank correlation of two scores over the distinct plans of one budget that have both.

    `correlation` is None if fewer than four plans have both scores, or if either score is constant.
    """

    budget: Budget
    cheap: str
    expensive: str
    plans: int
    correlation: float | None


def rank_correlations(records: Iterable[Evaluated]) -> list[RankCorrelation]:
    """For each budget, each score of its plans against the next more expensive one; pairs that no plan has are left
    out."""
    plans = merged(records)
    found = []
    for budget in dict.fromkeys(plan.budget for plan in plans):
        own = [p for p in plans if p.budget == budget and p.state == "complete"]
        known = scores_by_price(dict.fromkeys(name for p in own for name in p.scores))
        for cheap, expensive in pairwise(known):
            pairs = [
                (p.scores[cheap], p.scores[expensive]) for p in own if {cheap, expensive} <= p.scores.keys()
            ]
            pairs = [pair for pair in pairs if all(map(isfinite, pair))]
            if pairs:
                found.append(RankCorrelation(budget, cheap, expensive, len(pairs), _spearman(pairs)))
    return found


def _spearman(pairs: list[tuple[float, float]]) -> float | None:
    cheap, expensive = zip(*pairs, strict=True)
    if len(pairs) < _FEWEST or len(set(cheap)) == 1 or len(set(expensive)) == 1:
        return None
    return float(spearmanr(cheap, expensive).statistic)
