"""Tables: of a plan, of a front, of a model's layers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table

from ranksearch.cli.behaviour import behaviour_lines
from ranksearch.cli.flags import with_flags
from ranksearch.cli.models import models_view
from ranksearch.cli.text import styled
from ranksearch.costs import ALWAYS, is_measured, layer_cost, shown, unit_of
from ranksearch.networks import Layer, kernel_shape
from ranksearch.objectives import score_label, scores_by_price
from ranksearch.planning import LayerRecord, PlanRecord

if TYPE_CHECKING:  # a table of further plans need not wait for Optuna
    from ranksearch.runs import FurtherPlan
    from ranksearch.searching import FrontRecord, PlanEntry


def _table(*columns: str, left: int = 1) -> Table:
    """Columns to the right, but for the first `left` ones."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k < left else "right", overflow="fold")
    return table


def _titled(title: str, table: Table) -> RenderableType:
    return Group(styled(title, "bold", overflow="fold"), table)


def _share(metric: str, part: int, whole: int) -> str:
    amount = shown(metric, part)
    return f"{amount} ({part / whole:.1%})" if whole else amount


def _shares(cost: Mapping[str, int], dense: Mapping[str, int]) -> list[str]:
    """A cost as cells of a row, beside the dense model's."""
    return [_share(metric, amount, dense[metric]) for metric, amount in cost.items()]


def _units(metrics: Iterable[str]) -> list[str]:
    """Headings of the columns of a cost."""
    return [unit_of(metric) for metric in metrics]


def _score(scores: dict[str, float | None], name: str) -> str:
    value = scores.get(name)
    return f"{value:.4g}" if value is not None else "∞" if name in scores else "–"


def further_table(plans: Sequence[FurtherPlan]) -> RenderableType:
    """The plans of further budgets: what they cost, and what they are predicted to lose."""
    dense = plans[0].record.dense
    table = _table("budget", *_units(dense), "ε")
    table.add_row("dense", *(shown(metric, amount) for metric, amount in dense.items()), "0")
    for plan in plans:
        record = plan.record
        cells = _shares(record.cost, dense)
        if "time_predicted" in record.scores and "time" not in record.scores:
            cells = [
                f"{cell}, predicted" if is_measured(metric) else cell
                for metric, cell in zip(record.cost, cells, strict=True)
            ]
        table.add_row(f"budget {record.asked}", *cells, _score(record.scores, "error"))
    return table


def plan_view(record: PlanRecord) -> RenderableType:
    """A plan layer by layer, and what it comes to."""
    limits = [(record.metric, record.limit), *((other.metric, other.limit) for other in record.limits)]
    within = ", ".join(
        f"{shown(metric, record.cost[metric])} of at most {shown(metric, limit)} {unit_of(metric)}"
        for metric, limit in limits
    )
    title = f"budget {record.asked}: {within}, {record.model.name or 'a model handed in'}"
    table = _table("layer", "kernel", "decomposition", "ranks", *_units(record.cost), "ε", left=4)
    for layer in record.layers:
        table.add_row(
            layer.name,
            "×".join(map(str, layer.shape)),
            _decomposition(layer),
            "×".join(map(str, layer.ranks)) or "–",
            *(shown(metric, amount) for metric, amount in layer.cost.items()),
            f"{layer.error:.3g}",
        )
    table.add_section()
    table.add_row(
        "whole model", "", "", "",
        *_shares(record.cost, record.dense),
        f"{sum(layer.error for layer in record.layers):.3g}",
    )  # fmt: skip
    parts = [_titled(title, table)]
    if record.footprint is not None:
        parts.append(models_view("as delivered", [record]))
    if record.dense_layers:
        reasons = _table("layer", "reason", left=2)
        for kept in record.dense_layers:
            reasons.add_row(kept.name, with_flags(kept.reason))
        parts.append(_titled("layers that stay dense", reasons))
    if record.scores:
        scores = _table("score", "value")
        for name in record.scores:
            scores.add_row(name.replace("_", " "), _score(record.scores, name))
        parts.append(_titled("scores", scores))
    parts += [styled(line, overflow="fold") for line in behaviour_lines(record)]
    return Group(*parts)


def _decomposition(layer: LayerRecord) -> str:
    return f"{layer.decomposition} ({layer.form})" if layer.form else layer.decomposition


def front_view(record: FrontRecord, *, every: bool) -> RenderableType:
    """The front, or all plans, of each budget by cost."""
    from ranksearch.searching import describe_correlation

    what = "all plans" if every else "the front"
    title = f"{record.model or 'model'}: {what}, {record.metric} against {record.score}"
    plans = [p for p in record.plans if every or p.on_front or p.chosen]
    scores = scores_by_price(dict.fromkeys(s for p in plans for s in p.scores))
    headings = map(score_label, scores)
    table = _table("budget", "origin", "", *_units(record.dense), *headings, left=3)

    def order(plan: PlanEntry) -> tuple[float, int, float]:
        score = plan.scores.get(record.score)
        return -plan.budget, plan.cost[record.metric], float("inf") if score is None else score

    previous = None
    for plan in sorted(plans, key=order):
        if previous not in (None, plan.budget):
            table.add_section()
        previous = plan.budget
        table.add_row(
            plan.asked,
            plan.origin,
            _standing(plan),
            *_shares(plan.cost, record.dense),
            *(_score(plan.scores, s) for s in scores),
        )
    correlations = [
        styled(describe_correlation(found), overflow="fold") for found in record.rank_correlations
    ]
    return Group(_titled(title, table), *correlations)


def _standing(plan: PlanEntry) -> str:
    if plan.chosen:
        return "chosen"
    if plan.on_front:
        return "front"
    return "" if plan.state == "complete" else plan.state


def layers_view(
    layers: Sequence[Layer], applicable: dict[str, tuple[str, ...]], example: Any
) -> RenderableType:
    """Every layer with its cost and the decompositions that apply, or the reason why it stays dense."""
    table = _table("layer", "kind", "kernel", *_units(ALWAYS), "decompositions, or why none", left=3)
    table.columns[-1].justify = "left"
    for layer in layers:
        names = ", ".join(applicable.get(layer.name, ()))
        table.add_row(
            layer.name,
            layer.kind,
            "×".join(map(str, kernel_shape(layer))),
            *(shown(metric, amount) for metric, amount in layer_cost(layer).amounts.items()),
            names if layer.reason is None else styled(f"dense: {with_flags(layer.reason)}", "yellow"),
        )
    return _titled(f"layers, for an input of {_sizes(example)}", table)


def _sizes(shapes: Any) -> str:
    """Of a tree of shapes of one example: `3×32×32`, `(8, 8)`, `input_ids 16, attention_mask 16`."""
    if isinstance(shapes, dict):
        return ", ".join(f"{name} {_sizes(shape)}" for name, shape in shapes.items())
    if isinstance(shapes, tuple) and all(isinstance(size, int) for size in shapes):
        return "×".join(map(str, shapes[1:])) or "1"
    return f"({', '.join(map(_sizes, shapes))})" if isinstance(shapes, tuple) else str(shapes)
