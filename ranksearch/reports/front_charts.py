"""The charts of the front: every plan by its cost and its score, and what was delivered by its task metric."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ranksearch.costs import briefly
from ranksearch.objectives import ERROR
from ranksearch.planning import PlanRecord
from ranksearch.reports.answer import ROLES
from ranksearch.reports.chart import Chart, Line, Point, Rule, make_chart
from ranksearch.reports.content import RunContent
from ranksearch.reports.figures import estimate, figure, share
from ranksearch.reports.tables_of_text import number
from ranksearch.reports.texts import Texts
from ranksearch.searching import FrontRecord, PlanEntry
from ranksearch.searching.baselines import ALLOCATORS

MOST_POINTS = 400
MOST_NAMED = 40
"""Layers of a plan that its description names."""
CURVE = 120
"""Points of the front over all budgets."""


def front_charts(run: RunContent, texts: Texts) -> list[Chart]:
    """Those charts for which there are figures."""
    found = [_plans(run, run.front, texts)] if run.front is not None else []
    found += [delivered_chart([(run.name, run.records)], texts)]
    return [chart for chart in found if chart is not None]


def _plans(run: RunContent, front: FrontRecord, texts: Texts) -> Chart | None:
    metric, score, dense = front.metric, front.score, max(1, front.dense[front.metric])
    known = [plan for plan in front.plans if plan.scores.get(score) is not None]
    shown = sorted(known, key=lambda plan: (plan.chosen, plan.on_front))[-MOST_POINTS:]
    kinds = dict.fromkeys(_kind(plan) for plan in reversed(shown))
    unit, label = texts.unit(metric), texts.label("score", score)
    lines = []
    if score == ERROR:
        rows = [(number(row, "budget"), number(row, ERROR)) for row in run.whole_front]
        curve = [(100 * x, y) for x, y in rows if x is not None and y is not None and y > 0]
        lines = [Line(curve[:: max(1, len(curve) // CURVE)], "front", texts("legend_front"))] if curve else []
    budgets = {plan.asked: plan.budget for plan in front.plans}
    return make_chart(
        "front",
        texts("front_title", unit=unit, score=label),
        texts("front_summary", count=len(shown), score=label, unit=unit),
        x_label=texts("axis_kept", unit=unit),
        y_label=texts("axis_score", score=label),
        points=[
            Point(100 * p.cost[metric] / dense, p.scores[score] or 0.0, _details(p, front, texts), _kind(p))
            for p in shown
        ],
        lines=lines,
        rules=[Rule(100 * share_, asked) for asked, share_ in budgets.items()] if len(budgets) <= 8 else [],
        legend=[
            (kind, texts(f"origin_{kind}"))
            for kind in ("chosen", "analytic", "trial", "baseline")
            if kind in kinds
        ],
        log_y=True,
    )


def _kind(plan: PlanEntry) -> str:
    if plan.chosen:
        return "chosen"
    if plan.origin == "analytic":
        return "analytic"
    return "baseline" if plan.origin in ALLOCATORS.names() else "trial"


def _details(plan: PlanEntry, front: FrontRecord, texts: Texts) -> str:
    """All that is known of a plan, in lines."""
    factorised = [f"{layer}: {ranks}" for layer, ranks in plan.ranks.items() if ranks != "dense"]
    more = len(factorised) - MOST_NAMED
    lines = [
        f"{texts('budget', asked=plan.asked)}, {texts.label('origin', plan.origin)}",
        *(f"{texts.unit(n)}: {briefly(n, c)} ({share(c, front.dense[n])})" for n, c in plan.cost.items()),
        *(
            f"{texts.label('score', n)}: {figure(plan.scores[n])}"
            for n in dict.fromkeys((front.score, ERROR))
            if n in plan.scores
        ),
        *factorised[:MOST_NAMED],
        *([f"+ {more}"] if more > 0 else []),
    ]
    return "\n".join(lines)


def delivered_chart(runs: Sequence[tuple[str, Sequence[PlanRecord]]], texts: Texts) -> Chart | None:
    """The task metric of delivered models by cost, of one or several runs."""
    metrics = list(dict.fromkeys(r.metric for _, records in runs for r in records))
    if not metrics:
        return None
    metric = metrics[0]
    role = _common_role([record for _, records in runs for record in records])
    if role is None:
        return None
    points, legend = [], []
    for k, (name, records) in enumerate(runs):
        found = list(_delivered(name, records, metric, role, f"series{k % 6}", texts))
        points += found
        legend += [(f"series{k % 6}", name if len(runs) > 1 else texts("compressed"))] if found else []
    if not points:
        return None
    dense = _dense_scores([r for _, records in runs for r in records], role, texts)
    names = dict.fromkeys(r.delivery.task_metric for _, rs in runs for r in rs if r.delivery is not None)
    score = f"{' / '.join(names) or texts('task_metric')} ({texts.label('role', role)})"
    unit = texts.unit(metric)
    return make_chart(
        "delivered",
        texts("delivered_title", metric=score, unit=unit),
        texts("delivered_summary", count=len(points), metric=score, unit=unit),
        x_label=texts("axis_kept", unit=unit),
        y_label=score,
        points=[*points, *dense],
        rules=[Rule(point.y, "", vertical=False) for point in dense],
        legend=[*legend, *([("dense", texts("dense"))] if dense else [])],
    )


def _delivered(
    name: str, records: Sequence[PlanRecord], metric: str, role: str, style: str, texts: Texts
) -> Iterator[Point]:
    for record in records:
        score, stderr = record.scores.get(role), record.scores.get(f"{role}_stderr")
        if score is None or metric not in record.cost:
            continue
        x = 100 * record.cost[metric] / max(1, record.dense[metric])
        low, high = _interval(score, stderr, record)
        title = "\n".join(
            (
                f"{name}, {texts('budget', asked=record.asked)}",
                f"{x:.1f} % {texts.unit(metric)}",
                f"{texts.label('role', role)}: {estimate(score, stderr)}",
            )
        )
        yield Point(x, score, title, style, low, high)


def _common_role(records: Sequence[PlanRecord]) -> str | None:
    """The data on which most models were evaluated, test data where all were: scores on others do not compare."""
    counts = {role: sum(record.scores.get(role) is not None for record in records) for role in ROLES}
    best = max(ROLES, key=counts.__getitem__)
    return best if counts[best] else None


def _interval(score: float, stderr: float | None, record: PlanRecord) -> tuple[float | None, float | None]:
    """The 95 % interval of a score, which in per cent ends at 0 and 100; of an unknown error None."""
    if stderr is None:
        return None, None
    low, high = score - 1.96 * stderr, score + 1.96 * stderr
    percent = record.delivery is not None and record.delivery.task_metric.endswith("%")
    return (max(0.0, low), min(100.0, high)) if percent else (low, high)


def _dense_scores(records: Sequence[PlanRecord], role: str, texts: Texts) -> list[Point]:
    """What the dense models score."""
    found = {
        own.mean
        for r in records
        if r.delivery is not None and (own := r.delivery.dense.get(role)) is not None and own.mean is not None
    }
    return [
        Point(100.0, mean, f"{texts('dense')}: {estimate(mean, None)}", "dense") for mean in sorted(found)
    ]
