"""The verdict from analytic plans and the sweep: a score, the budget where trouble starts, layers to keep dense.

The score of a model is 1 − b, where b is the smallest fraction of its parameters at which the analytic plan is
predicted to stay within a divergence τ of the dense outputs. A layer's score is 1 − the fraction of its parameters that
this plan keeps. A search starts from analytic plans, with the same error and the same candidates, so b is close to what
a run reaches; measured plans correct the prediction (`checks`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from sklearn.isotonic import IsotonicRegression

from ranksearch.costs import Cost
from ranksearch.planning import Plan, Problem, Table
from ranksearch.probing.checks import Plans, predictor
from ranksearch.probing.joint import equal_norm
from ranksearch.probing.rows import Row
from ranksearch.probing.sizes import dense_bytes, plan_bytes
from ranksearch.probing.speed import Speed

TROUBLE = 0.1
"""Divergence in nats at which trouble starts: the outputs differ noticeably and the accuracy begins to fall."""

SPARED = 0.9
"""A layer of which the plan keeps at least this fraction should stay dense."""

SENSITIVE_NORM = 0.9
"""Norm kept at which layers are compared."""


@dataclass(frozen=True)
class Point:
    """The analytic plan at a budget. epsilon: its summed ε; kl: its predicted divergence; accuracy: the metric
    at such a divergence, None without labels or out of range; measured: whether this plan itself was measured;
    bytes: of the tensors in its weights file."""

    budget: float
    cost: Cost
    epsilon: float
    kl: float
    accuracy: float | None
    measured: bool
    bytes: int


@dataclass(frozen=True)
class LayerVerdict:
    """One layer. kept: the fraction of its parameters in the plan at the verdict's budget; candidate: its
    candidate in that plan; score: 1 − kept. drop: the metric lost at 0.9 of the norm, measured, mean over the cuts."""

    name: str
    kept: float
    candidate: str
    drop: float | None

    @property
    def score(self) -> float:
        return 1 - self.kept


@dataclass(frozen=True)
class Verdict:
    """threshold: τ in nats. trouble: the analytic plan of the smallest budget within τ. front: plans at falling
    budgets. spare: layers that should stay dense. speed: time of a forward pass, for the plan of `trouble` and the
    measured ones; None if it was not timed."""

    threshold: float
    trouble: Point
    front: tuple[Point, ...]
    layers: tuple[LayerVerdict, ...]
    speed: Speed | None = None

    @property
    def score(self) -> float:
        return 1 - self.trouble.budget

    @property
    def spare(self) -> tuple[str, ...]:
        return tuple(x.name for x in self.layers if x.kept >= SPARED)


@dataclass(frozen=True)
class Translation:
    """From divergence to the task's metric, a decreasing, piecewise linear function fitted to measurements. None beyond
    the largest measured divergence."""

    kl: tuple[float, ...]
    accuracy: tuple[float, ...]

    def __call__(self, kl: float) -> float | None:
        if not self.kl or kl > self.kl[-1] * (1 + 1e-9):
            return None
        return float(np.interp(kl, self.kl, self.accuracy))


def translation(rows: Sequence[Row]) -> Translation:
    """The isotonic regression of the metric on the divergence: over the measured plans and the dense
    model, or over all truncations if there are no plans."""
    labelled = [r for r in rows if r.accuracy is not None and isfinite(r.kl)]
    plans = [r for r in labelled if r.scope == "plan"]
    exact = [r for r in labelled if r.kl == 0][:1]
    points = sorted((r.kl, r.accuracy) for r in (exact + plans if plans else labelled))
    if not points:
        return Translation((), ())
    kl = np.array([x for x, _ in points])
    fitted = IsotonicRegression(increasing=False).fit(kl, np.array([y for _, y in points]))
    return Translation(tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def judge_model(problem: Problem, plans: Plans, rows: Sequence[Row], threshold: float = TROUBLE) -> Verdict:
    """The verdict on a prepared problem with its analytic plans; `rows` are those of the sweep, () without one."""
    predict, translate = predictor(rows), translation(rows)
    checked = {row.target for row in rows if row.scope == "plan"}
    # Plans of smaller budgets are assumed to be no better, though their ε, which they do not minimise, may be less.
    kls = np.maximum.accumulate([predict(plan.error) for _, plan in plans]).tolist()
    size = dense_bytes(problem)
    front = tuple(
        Point(
            budget,
            plan.cost,
            plan.error,
            kl,
            translate(kl),
            budget in checked,
            plan_bytes(problem, plan, size),
        )
        for (budget, plan), kl in zip(plans, kls, strict=True)
    )
    within = [k for k, point in enumerate(front) if point.kl <= threshold]
    chosen = within[-1] if within else 0
    drops = mean_drops(rows)
    layers = tuple(_layer(table, plans[chosen][1], drops) for table in problem.tables)
    return Verdict(threshold, front[chosen], front, layers)


def _layer(table: Table, plan: Plan, drops: Mapping[str, float]) -> LayerVerdict:
    candidate = plan.choices[table.layer.name]
    kept = candidate.cost.params / table.dense.params
    return LayerVerdict(table.layer.name, kept, str(candidate), drops.get(table.layer.name))


def mean_drops(rows: Sequence[Row], norm: float = SENSITIVE_NORM) -> dict[str, float]:
    """By layer, the measured loss of the metric at equal norm kept, mean over its cuts; empty without labels."""
    dense = [r.accuracy + r.drop for r in rows if r.accuracy is not None and r.drop is not None]
    by_layer: dict[str, list[float]] = {}
    for (layer, _), accuracy in equal_norm(rows, norm).items():
        by_layer.setdefault(layer, []).append(dense[0] - accuracy)
    return {layer: sum(found) / len(found) for layer, found in by_layer.items()}
