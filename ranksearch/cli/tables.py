"""Tables: of a plan, of a front, of a model's layers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType

from ranksearch.cli.behaviour import behaviour_lines
from ranksearch.cli.fitting import NOTHING, Column, Fitted
from ranksearch.cli.flags import with_flags
from ranksearch.cli.models import models_view
from ranksearch.cli.text import styled
from ranksearch.costs import ALWAYS, is_measured, layer_cost, part_in_words, shown, unit_of
from ranksearch.networks import Layer, kernel_shape
from ranksearch.objectives import score_label, scores_by_price
from ranksearch.planning import PlanRecord

if TYPE_CHECKING:  # a table of further plans need not wait for Optuna
    from ranksearch.runs import FurtherPlan
    from ranksearch.searching import FrontRecord, PlanEntry


def _titled(title: str, table: RenderableType) -> RenderableType:
    return Group(styled(title, "bold", overflow="fold"), table)


def _share(metric: str, part: int, whole: int) -> str:
    amount = shown(metric, part)
    return f"{amount} ({part / whole:.1%})" if whole else amount


def _counted(metric: str, cost: Sequence[Mapping[str, int]], dense: Mapping[str, int]) -> Sequence[str]:
    """Costs as cells, beside the dense model's."""
    return [_share(metric, amounts[metric], dense[metric]) for amounts in cost]


def _costs(cells: Mapping[str, Sequence[str]], own: str) -> Iterator[Column]:
    """Columns of costs by cost metric; that of the budget, `own`, stays the longest."""
    for place, (metric, column) in enumerate(cells.items()):
        yield Column(unit_of(metric), column, 1 if metric == own else 3 + place)


def _score(scores: dict[str, float | None], name: str) -> str:
    value = scores.get(name)
    return f"{value:.4g}" if value is not None else "∞" if name in scores else "–"


def further_table(plans: Sequence[FurtherPlan]) -> RenderableType:
    """The plans of further budgets: what they cost, and what they are predicted to lose."""
    records = [plan.record for plan in plans]
    dense = records[0].dense
    cells = {}
    for metric in dense:
        found = list(_counted(metric, [record.cost for record in records], dense))
        for k, record in enumerate(records):
            if is_measured(metric) and "time_predicted" in record.scores and "time" not in record.scores:
                found[k] = f"{found[k]}, predicted"
        cells[metric] = [shown(metric, dense[metric]), *found]
    own = records[0].metric
    of_part = (
        []
        if records[0].part is None
        else [
            Column(
                f"{unit_of(own)}{records[0].of_part}",
                [
                    shown(own, records[0].counted(own, dense[own])),
                    *(_counted_share(own, record) for record in records),
                ],
            )
        ]
    )
    columns = [
        Column("budget", ["dense", *(f"budget {record.asked}" for record in records)], left=True),
        *of_part,
        *_costs(cells, own),
        Column("ε", ["0", *(_score(record.scores, "error") for record in records)]),
    ]
    return Fitted(columns, wraps=True)


def plan_view(record: PlanRecord) -> RenderableType:
    """A plan layer by layer, and what it comes to."""
    limits = [(record.metric, record.limit), *((other.metric, other.limit) for other in record.limits)]
    within = ", ".join(
        f"{shown(metric, record.counted(metric, record.cost[metric]))} of at most "
        f"{shown(metric, record.counted(metric, limit))} {unit_of(metric)}"
        for metric, limit in limits
    )
    title = f"budget {record.asked}{record.of_part}: {within}, {record.model.name or 'a model handed in'}"
    layers, errors = record.layers, [layer.error for layer in record.layers]
    cells = {
        metric: [
            *(shown(metric, layer.cost[metric]) for layer in layers),
            *([_counted_share(metric, record)] if record.part else []),
            _share(metric, record.cost[metric], record.dense[metric]),
        ]
        for metric in record.cost
    }
    totals = [*([part_in_words(record.part.asked)] if record.part else []), "whole model"]
    blank = [""] * len(totals)
    columns = [
        Column("layer", [*(layer.name for layer in layers), *totals], left=True),
        Column("kernel", [*("×".join(map(str, layer.shape)) for layer in layers), *blank], 2, left=True),
        Column("decomposition", [*(layer.way for layer in layers), *blank], left=True),
        Column(
            "ranks", [*("×".join(map(str, layer.ranks)) or NOTHING for layer in layers), *blank], left=True
        ),
        *_costs(cells, record.metric),
        Column("ε", [*(f"{x:.3g}" for x in errors), *blank[1:], f"{sum(errors):.3g}"], 2),
    ]
    parts = [_titled(title, Fitted(columns, wraps=True, sections=(len(layers),)))]
    if record.footprint is not None:
        parts.append(models_view("as delivered", [record]))
    if record.dense_layers:
        reasons = [
            Column("layer", [kept.name for kept in record.dense_layers], left=True),
            Column("reason", [with_flags(kept.reason) for kept in record.dense_layers], left=True),
        ]
        parts.append(_titled("layers that stay dense", Fitted(reasons, wraps=True)))
    if record.scores:
        scores = [
            Column("score", [name.replace("_", " ") for name in record.scores], left=True),
            Column("value", [_score(record.scores, name) for name in record.scores]),
        ]
        parts.append(_titled("scores", Fitted(scores, wraps=True)))
    parts += [styled(line, overflow="fold") for line in behaviour_lines(record)]
    return Group(*parts)


def _counted_share(metric: str, record: PlanRecord) -> str:
    """What the budget counts of a model, beside the dense one's."""
    own, dense = (record.counted(metric, amounts[metric]) for amounts in (record.cost, record.dense))
    return _share(metric, own, dense)


def front_view(record: FrontRecord, *, every: bool) -> RenderableType:
    """The front, or all plans, of each budget by cost."""
    from ranksearch.searching import describe_correlation

    what = "all plans" if every else "the front"
    title = f"{record.model or 'model'}: {what}, {record.metric} against {record.score}"
    plans = [p for p in record.plans if every or p.on_front or p.chosen]
    scores = scores_by_price(dict.fromkeys(s for p in plans for s in p.scores))

    def order(plan: PlanEntry) -> tuple[float, int, float]:
        score = plan.scores.get(record.score)
        return -plan.budget, plan.cost[record.metric], float("inf") if score is None else score

    plans = sorted(plans, key=order)
    cells = {metric: _counted(metric, [plan.cost for plan in plans], record.dense) for metric in record.dense}
    columns = [
        Column("budget", [plan.asked for plan in plans], left=True),
        Column("origin", [plan.origin for plan in plans], left=True),
        Column("", [_standing(plan) for plan in plans], left=True),
        *_costs(cells, record.metric),
        *(
            Column(
                score_label(name), [_score(plan.scores, name) for plan in plans], _rank(name, record.score)
            )
            for name in scores
        ),
    ]
    sections = [k for k, plan in enumerate(plans) if k and plan.budget != plans[k - 1].budget]
    correlations = [
        styled(describe_correlation(found), overflow="fold") for found in record.rank_correlations
    ]
    return Group(_titled(title, Fitted(columns, wraps=True, sections=sections)), *correlations)


def _rank(score: str, of_front: str) -> int:
    """That of a score's column: the score of the front stays the longest."""
    return 1 if score == of_front else 9


def _standing(plan: PlanEntry) -> str:
    if plan.chosen:
        return "chosen"
    if plan.on_front:
        return "front"
    return "" if plan.state == "complete" else plan.state


def layers_view(
    layers: Sequence[Layer],
    applicable: Mapping[str, tuple[str, ...]],
    unused: Collection[str],
    example: Any,
) -> RenderableType:
    """Every layer with its cost and the decompositions that apply, or the reason why it stays dense or is unused."""
    cost = [layer_cost(layer).amounts for layer in layers]
    cells = {metric: [shown(metric, amounts[metric]) for amounts in cost] for metric in ALWAYS}
    columns = [
        Column("layer", [layer.name for layer in layers], left=True),
        Column("kind", [layer.kind for layer in layers], 4, left=True),
        Column("kernel", ["×".join(map(str, kernel_shape(layer))) for layer in layers], 2, left=True),
        *_costs(cells, "params"),
        Column(
            "decompositions, or why none",
            [
                ", ".join(applicable.get(layer.name, ()))
                if layer.reason is None
                else styled(
                    f"{'unused' if layer.name in unused else 'dense'}: {with_flags(layer.reason)}", "yellow"
                )
                for layer in layers
            ],
            left=True,
        ),
    ]
    return _titled(f"layers, for an input of {_sizes(example)}", Fitted(columns, wraps=True))


def _sizes(shapes: Any) -> str:
    """Of a tree of shapes of one example: `3×32×32`, `(8, 8)`, `input_ids 16, attention_mask 16`."""
    if isinstance(shapes, dict):
        return ", ".join(f"{name} {_sizes(shape)}" for name, shape in shapes.items())
    if isinstance(shapes, tuple) and all(isinstance(size, int) for size in shapes):
        return "×".join(map(str, shapes[1:])) or "1"
    return f"({', '.join(map(_sizes, shapes))})" if isinstance(shapes, tuple) else str(shapes)
