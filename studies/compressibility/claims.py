"""The paper's claims (arXiv:2403.14379) as numbers that a probe's files decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import permutation_test, rankdata, spearmanr

from ranksearch.probing import ProbeRecord
from ranksearch.probing.joint import equal_norm
from ranksearch.probing.rows import Row

STRONG = 0.2
"""Part of the norm that counts as a large loss."""

FEW = 8
"""Values of which all orders are looked at."""

LITTLE = 2.0
"""Points of accuracy that count as a small one."""


@dataclass(frozen=True)
class Finding:
    """A claim, what was measured for it, and whether that bears it out."""

    claim: str
    measured: str
    holds: bool


def findings(record: ProbeRecord, rows: Sequence[Row]) -> list[Finding]:
    """The claims against one network's measurements; those that they cannot decide are left out."""
    order = [layer.name for layer in record.layers if layer.reason is None]
    dense = record.dense.accuracy
    if dense is None or dense.mean is None or len(order) < 3:
        return []
    found = [
        norm_goes_before_accuracy(rows, dense.mean, order),
        depth(rows, dense.mean, order),
        ends(rows, dense.mean),
    ]
    found.append(recovery(record, dense.mean))
    return [x for x in found if x is not None]


def norm_goes_before_accuracy(rows: Sequence[Row], dense: float, order: Sequence[str]) -> Finding:
    """Much norm can be lost at little loss of accuracy, above all in deeper layers, along several cuts."""
    at = equal_norm(rows, 1 - STRONG)
    deep = set(order[len(order) // 2 :])
    cuts = list(dict.fromkeys(cut for _, cut in at))

    def share(cut: str | None, layers: set[str]) -> float:
        drops = [dense - a for (layer, c), a in at.items() if layer in layers and cut in (None, c)]
        return float(np.mean([drop <= LITTLE for drop in drops])) if drops else float("nan")

    by_cut = {cut: share(cut, deep) for cut in cuts}
    several = sum(value >= 0.5 for value in by_cut.values())
    return Finding(
        "A kernel can lose much of its norm along several cuts at little loss of accuracy, above all in deeper layers",
        f"at {1 - STRONG:.0%} of the norm at most {LITTLE:g} points are lost in {share(None, set(order)):.0%} of all "
        f"layers and cuts, in {share(None, deep):.0%} of those in the deeper half; there, by cut: "
        + ", ".join(f"{cut} {value:.0%}" for cut, value in by_cut.items() if value == value),
        several >= 3 and share(None, deep) > share(None, set(order) - deep),
    )


def depth(rows: Sequence[Row], dense: float, order: Sequence[str]) -> Finding:
    """Early layers are the sensitive ones."""
    drops = layer_drops(rows, dense, order)
    rho, p = rank_correlation(list(range(len(order))), [drops[x] for x in order])
    early, late = thirds(rows, dense, order)
    return Finding(
        "Early layers are more sensitive than deep ones",
        f"at {1 - STRONG:.0%} of the norm the first third of the layers loses {early:.1f} points on average, the last "
        f"third {late:.1f}; Spearman of depth and loss {rho:+.2f} (p = {p:.2g})",
        rho < 0 and p < 0.05 and early > late,
    )


def layer_drops(rows: Sequence[Row], dense: float, order: Sequence[str]) -> dict[str, float]:
    """By layer, the accuracy lost at equal norm kept, the mean over its cuts."""
    at = equal_norm(rows, 1 - STRONG)
    return {x: float(np.mean([dense - a for (layer, _), a in at.items() if layer == x])) for x in order}


def thirds(rows: Sequence[Row], dense: float, order: Sequence[str]) -> tuple[float, float]:
    """The mean of that over the first third of the layers, and over the last."""
    drops, third = layer_drops(rows, dense, order), max(1, len(order) // 3)
    early, late = (float(np.mean([drops[x] for x in part])) for part in (order[:third], order[-third:]))
    return early, late


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Spearman's coefficient and its p-value; 0 and 1 where all values are equal, which has no order.

    Of few values p is that of all their orders: the usual approximation would call four in order certain.
    """
    if len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0, 1.0
    found = spearmanr(x, y)
    rho, p = float(found.statistic), float(found.pvalue)
    if len(x) <= FEW:
        ranks = rankdata(y) - (len(y) + 1) / 2
        exact = permutation_test(
            (rankdata(x),),
            lambda a, axis: a @ ranks,
            permutation_type="pairings",
            n_resamples=np.inf,
            vectorized=True,
        )
        p = float(exact.pvalue)
    return rho, p


def ends(rows: Sequence[Row], dense: float) -> Finding | None:
    """The same with many layers truncated at once: the network's beginning against its end.

    A row that ended at a guess counts as one for all that it left out.
    """
    pairs = []
    for cut in sorted({r.cut for r in rows if r.scope == "prefix"}):
        first, last = (
            {
                r.layers: r.accuracy
                for r in rows
                if r.scope == scope and r.cut == cut and r.accuracy is not None
            }
            for scope in ("prefix", "suffix")
        )
        if first and last:
            pairs += [(_at(first, k), _at(last, k)) for k in sorted(first.keys() | last.keys())]
    if not pairs:
        return None
    first_loss, last_loss = (float(np.mean([dense - pair[k] for pair in pairs])) for k in (0, 1))
    better = float(np.mean([b > a for a, b in pairs]))
    return Finding(
        "Truncating the last layers costs less than truncating as many of the first",
        f"{first_loss:.1f} points for the first layers, {last_loss:.1f} for as many of the last, on average; "
        f"the last ones cost less in {better:.0%} of {len(pairs)} comparisons",
        better > 0.5 and last_loss < first_loss,
    )


def _at(curve: dict[int, float], layers: int) -> float:
    """The accuracy with so many layers truncated, or the last one that was measured before."""
    return curve[max(k for k in curve if k <= layers)]


def recovery(record: ProbeRecord, dense: float) -> Finding | None:
    """A strongly truncated network recovers in a few epochs."""
    found = record.recovery
    if found is None or not found.epochs:
        return None
    parts, regained = [], []
    for way in dict.fromkeys(e.way for e in found.epochs):
        scores = [
            e.accuracy.mean
            for e in found.epochs
            if e.way == way and e.accuracy and e.accuracy.mean is not None
        ]
        regained.append((scores[-1] - scores[0]) / (dense - scores[0]))
        parts.append(f"{way} {scores[0]:.1f} → {scores[-1]:.1f}")
    count = max(e.epoch for e in found.epochs)
    epochs = "1 epoch" if count == 1 else f"{count} epochs"
    return Finding(
        "A strongly truncated network recovers within a few epochs, without low-rank training from scratch",
        f"{found.layers} layers at {found.norm:.0%} of the norm across {found.cut}, {epochs}: "
        f"{', '.join(parts)} (dense {dense:.1f})",
        max(regained) >= 0.9,
    )
