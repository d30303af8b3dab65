"""The network from input to output: what became of each layer, and the candidates that it was chosen from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ranksearch.costs import briefly
from ranksearch.planning import DENSE, LayerRecord, PlanRecord, TableRecord, TablesRecord
from ranksearch.reports.chart import Chart, Line, Point, make_chart
from ranksearch.reports.figures import figure, share
from ranksearch.reports.texts import Texts

MOST_CANDIDATES = 14
"""Of one decomposition, in the chart of a layer."""
MOST_CHARTS = 120
SMALLEST = 1e-6
"""Of the largest error of a layer: what is below is rounding, or as good as exact."""


@dataclass(frozen=True)
class Bar:
    """The cost of a layer: dense, and as it is carried out. Lengths in per cent of the most expensive dense layer."""

    dense: float
    kept: float
    text: str
    amount: int
    more: bool


@dataclass(frozen=True)
class LayerRow:
    """A layer of a plan. bars: by cost metric."""

    number: int
    name: str
    kernel: str
    what: str
    error: str
    error_value: float
    bars: tuple[Bar, ...]
    factorised: bool


@dataclass(frozen=True)
class PlanLayers:
    """The layers of one plan. units: of the bars. slower: those that cost more than the dense layer, in words.
    fixed: layers that have to stay dense, with the reason."""

    title: str
    units: tuple[str, ...]
    rows: tuple[LayerRow, ...]
    slower: tuple[str, ...]
    fixed: tuple[tuple[str, str], ...]


def plan_layers(record: PlanRecord, tables: TablesRecord | None, texts: Texts) -> PlanLayers:
    """The layers of a plan in the order of the forward pass, as far as it is known."""
    dense = _dense_costs(record, tables)
    metrics = [name for name in record.cost if name != "bytes"]
    most = {m: max((costs[m] for costs in dense.values()), default=0) for m in metrics}
    order = {} if tables is None else {layer.name: k for k, layer in enumerate(tables.layers)}
    layers = sorted(record.layers, key=lambda layer: order.get(layer.name, 0))
    rows = tuple(
        _row(k, layer, dense.get(layer.name), metrics, most, texts) for k, layer in enumerate(layers, 1)
    )
    slower = [
        texts("slower_layer", layer=row.name, unit=texts.unit(metric), text=bar.text)
        for row in rows
        for metric, bar in zip(metrics, row.bars, strict=True)
        if bar.more
    ]
    return PlanLayers(
        texts("budget", asked=record.asked),
        tuple(texts.unit(metric) for metric in metrics),
        rows,
        tuple(slower),
        tuple((layer.name, layer.reason) for layer in record.dense_layers),
    )


def _dense_costs(record: PlanRecord, tables: TablesRecord | None) -> dict[str, dict[str, int]]:
    """By layer, what it costs dense: from the tables, else for layers that were kept from the plan."""
    found = {
        layer.name: dict(layer.cost)
        for layer in record.layers
        if layer.decomposition == DENSE and not layer.int8
    }
    if tables is not None and tables.model.digest == record.model.digest:
        for table in tables.tables:
            costs = {metric: column[table.dense] for metric, column in table.cost.items()}
            if costs.keys() >= record.cost.keys():
                found[table.layer] = costs
    return found


def _row(
    number: int,
    layer: LayerRecord,
    dense: dict[str, int] | None,
    metrics: Sequence[str],
    most: dict[str, int],
    texts: Texts,
) -> LayerRow:
    factorised = layer.decomposition != DENSE
    ranks = "·".join(map(str, layer.ranks))
    form = f" {layer.form}" if layer.form else ""
    return LayerRow(
        number,
        layer.name,
        f"{layer.kind} {'×'.join(map(str, layer.shape))}",
        (f"{layer.decomposition}{form} {ranks}" if factorised else texts("kept_dense"))
        + " int8" * layer.int8
        + f" {texts('unused')}" * layer.unused,
        figure(layer.error) if layer.error else "0",
        layer.error,
        tuple(
            _bar(metric, layer.cost[metric], None if dense is None else dense[metric], most[metric])
            for metric in metrics
        ),
        factorised,
    )


def _bar(metric: str, kept: int, dense: int | None, most: int) -> Bar:
    whole = max(1, most, kept if dense is None else 0)
    text = briefly(metric, kept)
    if dense is not None and kept != dense:
        text = f"{briefly(metric, dense)} → {text} ({share(kept, dense)})"
    width = 100 / max(whole, kept)
    return Bar(
        round(width * (kept if dense is None else dense), 1),
        round(width * kept, 1),
        text,
        kept,
        dense is not None and kept > dense,
    )


@dataclass(frozen=True)
class CandidateChart:
    """The candidates of a layer, and how many there are."""

    layer: str
    count: int
    chart: Chart


def candidate_charts(
    tables: TablesRecord | None, records: Sequence[PlanRecord], texts: Texts
) -> tuple[list[CandidateChart], list[tuple[str, str]]]:
    """A chart per layer, error against cost, those chosen marked; and the legend that all of them share."""
    if tables is None:
        return [], []
    styles = {name: f"series{k % 6}" for k, name in enumerate(_decompositions(tables))}
    chosen = {
        record.asked: {layer.name: layer for layer in record.layers}
        for record in records
        if record.model.digest == tables.model.digest
    }
    found = []
    for k, table in enumerate(tables.tables[:MOST_CHARTS]):
        own = {asked: layers[table.layer] for asked, layers in chosen.items() if table.layer in layers}
        chart = _candidates(k, table, tables.metric, own, styles, texts)
        if chart is not None:
            found.append(CandidateChart(table.layer, len(table.form), chart))
    return found, [(style, name) for name, style in styles.items()]


def _decompositions(tables: TablesRecord) -> list[str]:
    names = {name for table in tables.tables for name, _ in table.forms}
    return sorted(names - {DENSE})


def _candidates(
    number: int,
    table: TableRecord,
    metric: str,
    chosen: dict[str, LayerRecord],
    styles: dict[str, str],
    texts: Texts,
) -> Chart | None:
    costs, dense = table.cost[metric], max(1, table.cost[metric][table.dense])
    least = SMALLEST * max(table.error, default=0.0)
    lines = []
    for name, style in styles.items():
        own = [
            (100 * cost / dense, error)
            for place, cost, error in zip(table.form, costs, table.error, strict=True)
            if table.forms[place][0] == name and error > least
        ]
        if front := _thinned(list(_pareto(own))):
            lines.append(Line(front, style))
    points = []
    for asked, layer in chosen.items():
        if layer.decomposition != DENSE and layer.error > least:
            ranks = "·".join(map(str, layer.ranks))
            title = texts(
                "chosen_title",
                asked=asked,
                what=f"{layer.decomposition} {ranks}",
                share=share(layer.cost[metric], dense),
                error=figure(layer.error),
            )
            points.append(Point(100 * layer.cost[metric] / dense, layer.error, title, "ring"))
    return make_chart(
        f"candidates{number}",
        table.layer,
        texts("candidates_summary", layer=table.layer, count=len(table.form)),
        x_label=texts("axis_kept", unit=texts.unit(metric)),
        y_label="ε",
        points=points,
        lines=lines,
        log_x=True,
        log_y=True,
        size=(270, 210),
        most_ticks=4,
    )


def _pareto(points: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Those that no other is both cheaper and better than, by rising cost."""
    best = float("inf")
    for cost, error in sorted(points):
        if error < best:
            best = error
            yield round(cost, 3), error


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A number of them that are spread evenly, both ends among them."""
    if len(points) <= MOST_CANDIDATES:
        return points
    last = len(points) - 1
    return [points[round(k * last / (MOST_CANDIDATES - 1))] for k in range(MOST_CANDIDATES)]
