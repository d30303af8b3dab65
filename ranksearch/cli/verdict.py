"""What a probe found: one screen for whoever decides, one table for whoever builds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel

from ranksearch.cli.fitting import NOTHING, Column, Fitted
from ranksearch.cli.text import paragraph, styled
from ranksearch.probing import DenseScores, Measured, PointRecord, ProbedLayer, ProbeRecord

_SHOWN = 6
_ALIKE = 0.05
"""Relative difference of two times that a machine's noise may account for."""
_GRADES = ((0.8, "very compressible"), (0.6, "well compressible"), (0.3, "somewhat compressible"))


def verdict_view(record: ProbeRecord) -> RenderableType:
    """The whole verdict; of a probe without moments the measurements alone."""
    parts: list[RenderableType] = [
        Panel(paragraph(sentences(record)), title=styled(_title(record)), padding=(1, 2))
    ]
    if record.verdict is not None:
        parts.append(_budgets(record))
    parts.append(_layers(record))
    return Group(*parts)


def _title(record: ProbeRecord) -> str:
    name = (record.model or "the model").replace("\\", "/").rsplit("/", 1)[-1]
    return f"How compressible is {name}?"


def sentences(record: ProbeRecord) -> Iterator[str]:
    """The verdict in plain words, a line each."""
    verdict, dense = record.verdict, record.dense
    if verdict is not None:
        grade = next((words for least, words in _GRADES if verdict.score >= least), "hardly compressible")
        point = verdict.trouble
        yield f"{grade.capitalize()}: score {verdict.score:.2f} of 1."
        yield (
            f"Down to {point.budget:.0%} of its parameters ({point.params:,} of {dense.params:,}, "
            f"{_megabytes(point)} MB instead of {_megabytes(dense)}; "
            f"{point.flops / dense.flops:.0%} of the FLOPs) its outputs should differ little "
            f"(divergence at most {verdict.threshold:g})"
            f"{_accuracies(point, dense.accuracy, record.task_metric)}. Below, trouble starts."
        )
        yield from _speed(record)
        if verdict.spare:
            yield f"Leave alone: {_some(verdict.spare)}."
        elif record.layers:
            yield "No layer has to be left alone."
    yield from _depth(record)
    yield from _recovery(record)


def _speed(record: ProbeRecord) -> Iterator[str]:
    """What the plan at the trouble budget gains in time, where it is another than the dense model."""
    verdict = record.verdict
    if verdict is None or verdict.speed is None or verdict.trouble.params == record.dense.params:
        return
    speed, point = verdict.speed, verdict.trouble
    gain = speed.gain(point.budget)
    if gain is None:
        return
    threads = "one thread" if speed.threads == 1 else f"{speed.threads} threads"
    how = (
        f"{1e3 * speed.dense / gain:.3g} ms instead of {1e3 * speed.dense:.3g}, measured in {speed.runtime} at batch "
        f"{speed.batch} on {threads if speed.device == 'cpu' else speed.device}"
    )
    if gain >= 1 + _ALIKE:
        yield f"Predicted {gain:.1f} times faster on this machine ({how})."
        return
    words = f"{1 / gain:.1f} times slower" if gain < 1 - _ALIKE else "no faster"
    share = point.flops / record.dense.flops
    despite = (
        f", although it needs {share:.0%} of the FLOPs: many thin layers take longer than their FLOPs say"
        if share < 1
        else ""
    )
    yield f"Predicted {words} on this machine ({how}){despite}."
    yield "A run with --metric latency looks for plans that are faster."


def _megabytes(found: PointRecord | DenseScores) -> str:
    """Of the weights file; older records have only the parameters, here taken to be in single precision."""
    return f"{(4 * found.params if found.bytes is None else found.bytes) / 1e6:.3g}"


def _accuracies(point: PointRecord, dense: Measured | None, metric: str) -> str:
    if point.accuracy is None or dense is None or dense.mean is None:
        return ""
    return f", {metric} about {point.accuracy:.1f} (now {dense.mean:.1f}), before any retraining"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def _depth(record: ProbeRecord) -> Iterator[str]:
    """Early against deep, and the layers that lose most."""
    found = [(x.name, x.drop) for x in record.layers if x.drop is not None]
    if len(found) < 3:
        return
    third = max(1, len(found) // 3)
    early, deep = ([drop for _, drop in part] for part in (found[:third], found[-third:]))
    yield (
        f"A tenth of a kernel's norm costs {_mean(early):.1f} points in the first third of the layers, "
        f"{_mean(deep):.1f} in the last."
    )
    worst = [name for name, drop in sorted(found, key=lambda x: -x[1])[:3] if drop > 1]
    if worst:
        yield f"Most sensitive: {_some(worst)}."


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _recovery(record: ProbeRecord) -> Iterator[str]:
    recovery = record.recovery
    first = recovery.epochs[0].accuracy if recovery is not None and recovery.epochs else None
    if recovery is None or first is None or first.mean is None:
        return
    last = {epoch.way: epoch.accuracy for epoch in recovery.epochs}
    ways = [f"{x.mean:.1f} {way}" for way, x in last.items() if x is not None and x.mean is not None]
    count = max(epoch.epoch for epoch in recovery.epochs)
    retraining = "1 epoch of retraining brings" if count == 1 else f"{count} epochs of retraining bring"
    yield (
        f"With all layers at {recovery.norm:.0%} of their norm across {recovery.cut} it falls to {first.mean:.1f}"
        + (f"; {retraining} it to {' and '.join(ways)}." if ways else ".")
    )


def _budgets(record: ProbeRecord) -> RenderableType:
    verdict = record.verdict
    assert verdict is not None
    speed, points = verdict.speed, _chosen(verdict.front, (0.7, 0.5, 0.3, 0.2, 0.1, 0.05))
    gains = [None if speed is None else speed.gain(point.budget) for point in points]
    columns = [
        Column("kept", [f"{point.budget:.2f}" for point in points], left=True),
        Column("parameters", [f"{point.params:,}" for point in points], 3),
        Column("FLOPs", [f"{point.flops / record.dense.flops:.0%}" for point in points], 2),
        Column("MB", [_megabytes(point) for point in points], 2),
        Column("faster", [_number(gain, ".2f") for gain in gains]),
        Column("divergence", [f"{point.kl:.3g}" for point in points]),
        Column(record.task_metric, [_number(point.accuracy, ".1f") for point in points]),
        Column("", ["measured" if point.measured else "predicted" for point in points], 1, left=True),
    ]
    title = styled("analytic plans, before any search or retraining", "bold")
    return Group(title, Fitted(columns, wraps=True))


def _chosen(front: Sequence[PointRecord], budgets: Sequence[float]) -> list[PointRecord]:
    """The points nearest to some budgets, among those that there are, and those that were measured."""
    lowest = min(point.budget for point in front)
    wanted = [b for b in budgets if b >= 0.9 * lowest]
    near = [min(front, key=lambda p, b=b: abs(p.budget - b)) for b in wanted]  # type: ignore[misc]
    return [point for point in front if point.measured or point in near]


def _layers(record: ProbeRecord) -> RenderableType:
    layers = record.layers
    columns = [
        Column("layer", [layer.name for layer in layers], left=True),
        Column("kernel", ["×".join(map(str, layer.shape)) for layer in layers], 3, left=True),
        Column("parameters", [f"{layer.params:,}" for layer in layers], 2),
        Column("score", [_number(layer.score, ".2f") for layer in layers]),
        Column("kept", [_number(layer.kept, ".0%") for layer in layers], 1),
        Column("entropy of o|…", [_number(_entropy(layer), ".2f") for layer in layers], 4),
        Column("points lost at 0.9 norm", [_number(layer.drop, ".1f") for layer in layers]),
        Column(
            "the plan's choice, or why it stays dense",
            [layer.candidate or layer.reason or NOTHING for layer in layers],
            left=True,
        ),
    ]
    return Group(styled("layer by layer", "bold"), Fitted(columns, wraps=True))


def _entropy(layer: ProbedLayer) -> float | None:
    """Across the outputs against the rest."""
    return next((value for cut, value in layer.entropy.items() if cut.startswith("o|")), None)


def _number(value: float | None, form: str) -> str:
    return NOTHING if value is None else format(value, form)
