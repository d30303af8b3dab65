"""The verdict of a probe: what it says of the model, the budgets that it looked at, and every layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ranksearch.probing import ProbedLayer, ProbeRecord
from ranksearch.reports.chart import Chart, Line, Point, Rule, make_chart
from ranksearch.reports.figures import NOTHING, figure, share
from ranksearch.reports.texts import Texts


def probe_answer(record: ProbeRecord, texts: Texts) -> list[str]:
    """The verdict in sentences; none where the probe has come to no verdict."""
    verdict, dense = record.verdict, record.dense
    if verdict is None:
        return [texts("probe_no_verdict")]
    point = verdict.trouble
    lines = [
        texts(
            "probe_score",
            score=f"{verdict.score:.2f}",
            budget=share(point.budget, 1),
            params=f"{point.params:,}",
            flops=share(point.flops, dense.flops),
            threshold=figure(verdict.threshold),
        )
    ]
    if point.accuracy is not None and dense.accuracy is not None and dense.accuracy.mean is not None:
        lines.append(
            texts(
                "probe_accuracy",
                metric=record.task_metric,
                before=f"{dense.accuracy.mean:.1f}",
                after=f"{point.accuracy:.1f}",
            )
        )
    spare = ", ".join(verdict.spare[:12]) + (" …" if len(verdict.spare) > 12 else "")
    lines.append(texts("probe_spare", layers=spare) if spare else texts("probe_no_spare"))
    return lines


def probe_charts(record: ProbeRecord, texts: Texts) -> list[Chart]:
    """Divergence and task metric of the analytic plans by what they keep."""
    if record.verdict is None:
        return []
    front = sorted(record.verdict.front, key=lambda point: point.budget)
    unit = texts.unit("params")
    styles = {True: "chosen", False: "trial"}
    legend = [("chosen", texts("probe_measured")), ("trial", texts("probe_predicted"))]
    trouble = [Rule(100 * record.verdict.trouble.budget, texts("probe_trouble"))]

    def chart(
        key: str, label: str, values: Sequence[tuple[float, float, bool]], *, log: bool
    ) -> Chart | None:
        return make_chart(
            key,
            texts("delivered_title", metric=label, unit=unit),
            texts("delivered_summary", count=len(values), metric=label, unit=unit),
            x_label=texts("axis_kept", unit=unit),
            y_label=label,
            points=[
                Point(100 * x, y, f"{share(x, 1)}: {figure(y, 4)}", styles[known]) for x, y, known in values
            ],
            lines=[Line([(100 * x, y) for x, y, _ in values], "front")],
            rules=trouble,
            legend=legend,
            log_y=log,
        )

    kl = [(p.budget, p.kl, p.measured) for p in front]
    scores = [(p.budget, p.accuracy, p.measured) for p in front if p.accuracy is not None]
    charts = [
        chart("divergence", texts.label("score", "divergence"), kl, log=True),
        chart("accuracy", record.task_metric, scores, log=False),
    ]
    return [found for found in charts if found is not None]


@dataclass(frozen=True)
class ProbedRow:
    """A layer of the model in figures, and its drop for sorting."""

    number: int
    name: str
    kernel: str
    params: str
    params_value: int
    score: str
    kept: str
    drop: str
    drop_value: float
    what: str


def probe_layers(record: ProbeRecord) -> list[ProbedRow]:
    """Every layer in the order of the forward pass."""
    return [_row(number, layer) for number, layer in enumerate(record.layers, 1)]


def _row(number: int, layer: ProbedLayer) -> ProbedRow:
    return ProbedRow(
        number,
        layer.name,
        "×".join(map(str, layer.shape)),
        f"{layer.params:,}",
        layer.params,
        NOTHING if layer.score is None else f"{layer.score:.2f}",
        NOTHING if layer.kept is None else share(layer.kept, 1),
        NOTHING if layer.drop is None else f"{layer.drop:.1f}".replace("-", "−"),
        -1.0 if layer.drop is None else layer.drop,
        layer.candidate or layer.reason or NOTHING,
    )
