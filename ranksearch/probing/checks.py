"""A few analytic plans, built and measured: the relation between their summed ε and their true divergence.

ε is a second-order estimate that neglects how the errors of positions and layers add up. Its deviation differs between
networks and grows with ε; four measured plans around the threshold determine it, and so predict the result of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log

import numpy as np

from ranksearch.compression import recalibrate
from ranksearch.costs import Budget
from ranksearch.errors import BudgetError
from ranksearch.planning import Plan, Problem, analytic
from ranksearch.probing.rows import Row, SweepFile, scored
from ranksearch.probing.scores import Judge, ProbeImages
from ranksearch.progress import Ticks, no_ticks

BUDGETS = tuple(float(f"{b:.4g}") for b in np.geomspace(1.0, 0.01, 121))
"""Fractions of the parameters at which the analytic plan is made."""

AIMS = (0.3, 1.0, 3.0, 10.0)
"""Predicted divergences of the plans to measure, in units of the threshold."""

Plans = Sequence[tuple[float, Plan]]
"""Budgets, falling, with their analytic plans."""


def analytic_plans(problem: Problem) -> list[tuple[float, Plan]]:
    """The plans that a run without trials chooses at falling fractions of the parameters, until none fits."""
    plans = []
    for budget in BUDGETS:
        try:
            plans.append((budget, problem.plan(analytic(problem.tables, Budget.of(problem.dense, budget)))))
        except BudgetError:
            break
    return plans


def check_plans(
    problem: Problem,
    plans: Plans,
    images: ProbeImages,
    judge: Judge,
    file: SweepFile,
    *,
    threshold: float,
    progress: Ticks = no_ticks,
) -> None:
    """Measure four plans around the threshold and add them to the file, except those that are already there.

    Each is chosen using the predictions from the earlier ones. BatchNorm statistics are re-estimated, as in a run.
    """
    for done, aim in enumerate(AIMS):
        progress(done, len(AIMS))
        if sum(row.scope == "plan" for row in file.rows) > done:
            continue
        predict = predictor(file.rows)
        known = {row.target for row in file.rows if row.scope == "plan"}
        goal = log(aim * threshold)
        left = [(b, p) for b, p in plans if b not in known and p.error > 0]
        if left:
            budget, plan = min(left, key=lambda pair: abs(log(predict(pair[1].error)) - goal))
            file.append([_measure(problem, budget, plan, images, judge)])
    progress(len(AIMS), len(AIMS))


def _measure(problem: Problem, budget: float, plan: Plan, images: ProbeImages, judge: Judge) -> Row:
    task = problem.task
    held_out = task.inputs("divergence")
    dense = task.outputs(task.model, held_out)
    settings = {"batch_size": task.batch_size, "device": task.device, "output": task.output}
    built = recalibrate(problem.build(plan), task.inputs("moments"), held_out, dense, task.loss, **settings)  # type: ignore[arg-type]
    outputs = task.outputs(built.model, images.inputs)
    return Row(
        scope="plan",
        layer="",
        layers=sum(not candidate.is_dense for candidate in plan.choices.values()),
        cut="",
        target=budget,
        bond=None,
        full=None,
        norm_kept=None,
        epsilon=plan.error,
        **scored(judge.scores(outputs)),  # type: ignore[arg-type]
    )


def predictor(rows: Sequence[Row]) -> Callable[[float], float]:
    """From a plan's summed ε to its divergence: through the measured plans, linear in the logarithms, with a
    constant ratio beyond them. Without measured plans, by the median ratio of single-layer truncations, or 1."""
    points = sorted((r.epsilon, r.kl) for r in rows if r.scope == "plan" and r.epsilon and 0 < r.kl < np.inf)
    if not points:
        factor = truncation_factor(rows)
        return lambda epsilon: factor * epsilon
    x = np.log([epsilon for epsilon, _ in points])
    # More ε cannot mean less divergence; if it seems so, there were too few images.
    ratio = np.maximum.accumulate(np.log([kl for _, kl in points])) - x

    def predict(epsilon: float) -> float:
        return 0.0 if epsilon <= 0 else epsilon * exp(float(np.interp(log(epsilon), x, ratio)))

    return predict


_MIDDLING = (0.01, 0.3)
"""Divergences in nats that calibrate ε: smaller ones are noise, for larger ones the second order is not valid."""


def truncation_factor(rows: Sequence[Row]) -> float:
    """Measured over analytic divergence: the median ratio over single-layer truncations of middling divergence.

    1 with fewer than five such rows.
    """
    low, high = _MIDDLING
    ratios = [
        log(row.kl / row.epsilon)
        for row in rows
        if row.scope == "layer" and row.epsilon and row.epsilon > 0 and low <= row.kl <= high
    ]
    return exp(float(np.median(ratios))) if len(ratios) >= 5 else 1.0
