"""The verdict: from analytic fronts and the sweep to a score, a budget at which trouble starts, and layers to spare.

The score of a model is 1 − b, b the smallest fraction of its parameters at which the analytic plan is
predicted to stay within a divergence τ of the dense outputs; a layer's score is 1 − the fraction of it that this plan
keeps. The prediction is the plan's summed ε times a factor that the sweep measures: ε is a second-order estimate, and
how far it is off, in the median over truncations of middling size, says the model itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, isfinite, log

import numpy as np
from sklearn.isotonic import IsotonicRegression

from ranksearch.allocation import knapsack
from ranksearch.costs import Cost
from ranksearch.errors import BudgetError
from ranksearch.plan import Plan, Table
from ranksearch.probing.joint import equal_norm
from ranksearch.probing.rows import Row
from ranksearch.problem import Problem

TROUBLE = 0.1
"""Divergence in nats at which trouble starts: the outputs differ in what counts, the accuracy begins to fall."""

SPARED = 0.9
"""A layer of which the plan keeps at least this part is better left alone."""

BUDGETS = tuple(float(b) for b in np.geomspace(1.0, 0.01, 61))
"""Fractions of the parameters at which the analytic plan is made."""

SENSITIVE_NORM = 0.9
"""Norm kept at which layers are compared."""

_MIDDLING = (0.01, 1.0)
"""Divergences, in nats, from which ε is calibrated: below is noise, above the second order no longer holds."""


@dataclass(frozen=True)
class Point:
    """The analytic plan at a budget. kl: its predicted divergence; accuracy: the metric that the sweep found at
    such a divergence, None without labels."""

    budget: float
    cost: Cost
    kl: float
    accuracy: float | None


@dataclass(frozen=True)
class LayerVerdict:
    """One layer. kept: the fraction of its parameters in the plan at the verdict's budget; candidate: what
    that plan makes of it; score: 1 − kept. drop: mean over the cuts of the metric lost at 0.9 of the norm, measured."""

    name: str
    kept: float
    candidate: str
    drop: float | None

    @property
    def score(self) -> float:
        return 1 - self.kept


@dataclass(frozen=True)
class Verdict:
    """threshold: τ in nats. factor: measured over analytic divergence. trouble: the analytic plan of the smallest
    budget within τ. front: plans at falling budgets. spare: layers to leave alone."""

    threshold: float
    factor: float
    trouble: Point
    front: tuple[Point, ...]
    layers: tuple[LayerVerdict, ...]

    @property
    def score(self) -> float:
        return 1 - self.trouble.budget

    @property
    def spare(self) -> tuple[str, ...]:
        return tuple(x.name for x in self.layers if x.kept >= SPARED)


def calibration(rows: Sequence[Row]) -> float:
    """Measured over analytic divergence: the median ratio over single-layer truncations of middling divergence.

    1 where fewer than five rows say anything.
    """
    low, high = _MIDDLING
    ratios = [
        log(row.kl / row.epsilon)
        for row in rows
        if row.scope == "layer" and row.epsilon and row.epsilon > 0 and low <= row.kl <= high
    ]
    return exp(float(np.median(ratios))) if len(ratios) >= 5 else 1.0


@dataclass(frozen=True)
class Translation:
    """From divergence to the task's metric, as the sweep found them together; falling, piecewise linear."""

    kl: tuple[float, ...]
    accuracy: tuple[float, ...]

    def __call__(self, kl: float) -> float | None:
        return float(np.interp(kl, self.kl, self.accuracy)) if self.kl else None


def translation(rows: Sequence[Row]) -> Translation:
    """The isotonic regression of accuracy on divergence over all rows with labels."""
    points = sorted((r.kl, r.accuracy) for r in rows if r.accuracy is not None and isfinite(r.kl))
    if not points:
        return Translation((), ())
    kl = np.array([x for x, _ in points])
    fitted = IsotonicRegression(increasing=False).fit(kl, np.array([y for _, y in points]))
    return Translation(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def judge_model(problem: Problem, rows: Sequence[Row], threshold: float = TROUBLE) -> Verdict:
    """The verdict on a prepared problem; `rows` are those of the sweep, () without one."""
    factor, translate = calibration(rows), translation(rows)
    plans = _plans(problem)
    front = tuple(
        Point(budget, plan.cost, factor * plan.error, translate(factor * plan.error))
        for budget, plan in plans
    )
    within = [k for k, point in enumerate(front) if point.kl <= threshold]
    chosen = within[-1] if within else 0
    drops = mean_drops(rows)
    layers = tuple(_layer(table, plans[chosen][1], drops) for table in problem.tables)
    return Verdict(threshold, factor, front[chosen], front, layers)


def _plans(problem: Problem) -> list[tuple[float, Plan]]:
    """Analytic plans at falling fractions of the parameters, down to where none fits."""
    plans = []
    for budget in BUDGETS:
        limit = int(budget * problem.dense.params)
        try:
            plans.append((budget, problem.plan(knapsack(problem.tables, limit, "params", problem.dense))))
        except BudgetError:
            break
    return plans


def _layer(table: Table, plan: Plan, drops: Mapping[str, float]) -> LayerVerdict:
    candidate = plan.choices[table.layer.name]
    kept = candidate.cost.params / table.layer.cost.params
    return LayerVerdict(table.layer.name, kept, str(candidate), drops.get(table.layer.name))


def mean_drops(rows: Sequence[Row], norm: float = SENSITIVE_NORM) -> dict[str, float]:
    """By layer, the metric lost at equal norm kept, the mean over its cuts; measured, without labels nothing."""
    dense = [r.accuracy + r.drop for r in rows if r.accuracy is not None and r.drop is not None]
    by_layer: dict[str, list[float]] = {}
    for (layer, _), accuracy in equal_norm(rows, norm).items():
        by_layer.setdefault(layer, []).append(dense[0] - accuracy)
    return {layer: sum(found) / len(found) for layer, found in by_layer.items()}
