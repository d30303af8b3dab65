"""Delivered models next to the dense one: costs, bytes, time and scores, and a word where one became slower."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType

from ranksearch.cli.fitting import NOTHING, Column, Fitted
from ranksearch.cli.text import styled
from ranksearch.costs import COSTS, briefly, unit_of
from ranksearch.planning import EstimateRecord, FootprintRecord, PlanRecord, TimeRecord
from ranksearch.runs import ROLES, RunReport, dense_score, task_metric_of

ALIKE = 0.05
"""Relative difference of two times below which nothing is said about it."""


def results_table(report: RunReport) -> RenderableType:
    """The dense model and the compressed one of each budget."""
    return models_view("before and after", [found.record for found in report.delivered])


def models_view(title: str, records: Sequence[PlanRecord]) -> RenderableType:
    """Models of one run, at least one, beside the dense one as their records tell of it."""
    metric = task_metric_of(records)
    named = f"{metric},\n" if metric else ""
    scores = {
        role: [_estimate(dense_score(records, role)), *(_score(r, role) for r in records)] for role in ROLES
    }
    tested = any(cell != NOTHING for cell in scores["test"])
    columns = [
        Column("model", ["dense", *(f"budget {r.asked}" for r in records)], left=True),
        *_costs(records),
        *_footprints([record.footprint for record in records], {*records[0].cost}),
        Column("divergence", ["0", *(_number(r.scores, "delivered") for r in records)], 5),
        Column(f"{named}validation", scores["validation"], 4 if tested else 0),
        Column(f"{named}test", scores["test"]),
    ]
    return Group(styled(title, "bold", overflow="fold"), Fitted(columns), *map(styled, remarks(records)))


def remarks(records: Sequence[PlanRecord]) -> Iterator[str]:
    """What the times hold for, and which models take longer than the dense one."""
    times = {
        r.asked: r.footprint.time for r in records if r.footprint is not None and r.footprint.time is not None
    }
    for held in dict.fromkeys(f"{t.runtime} {t.version}, {_conditions(t)}" for t in times.values()):
        yield f"times: {held}"
    for record in records:
        time = times.get(record.asked)
        if time is None or time.low <= 1 or time.ratio < 1 + ALIKE:
            continue
        share = record.cost["flops"] / max(1, record.dense["flops"])
        joined = "but" if share < 1 else "and"
        way_out = "" if "latency" in record.cost else "; --metric latency looks for plans that are faster"
        yield (
            f"budget {record.asked}: {share:.0%} of the FLOPs, {joined} {time.ratio:.2g} times the time in "
            f"{time.runtime} ({_conditions(time)}){way_out}"
        )


def _conditions(time: TimeRecord) -> str:
    threads = "1 thread" if time.threads == 1 else f"{time.threads} threads"
    return f"batch {time.batch}, {threads}, {time.processor}"


def _costs(records: Sequence[PlanRecord]) -> Iterator[Column]:
    """What the plans count; measured times come from the models instead."""
    dense = records[0].dense
    timed = any(r.footprint is not None and r.footprint.time is not None for r in records)
    for metric, amount in dense.items():
        found = COSTS.find(metric)
        if timed and found is not None and found.measured:
            continue
        cells = [briefly(metric, amount), *(_share(metric, r.cost[metric], amount) for r in records)]
        yield Column(unit_of(metric), cells, 0 if metric == records[0].metric else 3)


def _share(metric: str, part: int, whole: int) -> str:
    amount = briefly(metric, part)
    return f"{amount} ({part / whole:.1%})" if whole else amount


def _footprints(found: Sequence[FootprintRecord | None], counted: set[str]) -> Iterator[Column]:
    """Bytes and time, of models of which they were measured."""
    there = [x for x in found if x is not None]
    if not there:
        return
    sizes = [there[0].dense, *(None if x is None else x.compressed for x in found)]
    times = [None if x is None else x.time for x in found]
    dense = next((time for time in times if time is not None), None)
    if "bytes" not in counted:
        yield Column("MB", [NOTHING if x is None else _megabytes(x.bytes) for x in sizes], 2)
    if dense is not None:
        yield Column("ms", [_milliseconds(dense.dense_seconds), *map(_timed, times)], 1)
    active = [None if x is None else x.activation_bytes for x in sizes]
    yield Column("activations\nMB", [NOTHING if x is None else _megabytes(x) for x in active], 6)


def _timed(time: TimeRecord | None) -> str:
    return NOTHING if time is None else f"{_milliseconds(time.seconds)} ({time.ratio:.0%})"


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}"


def _megabytes(amount: int) -> str:
    return f"{amount / 1e6:.3g}"


def _estimate(found: EstimateRecord | None) -> str:
    return NOTHING if found is None else _with_error(found.mean, found.stderr)


def _score(record: PlanRecord, role: str) -> str:
    return _with_error(record.scores.get(role), record.scores.get(f"{role}_stderr"))


def _with_error(mean: float | None, stderr: float | None) -> str:
    if mean is None:
        return NOTHING
    return f"{mean:.2f}" if stderr is None else f"{mean:.2f} ± {stderr:.2f}"


def _number(scores: Mapping[str, float | None], name: str) -> str:
    value = scores.get(name)
    return f"{value:.4g}" if value is not None else "∞" if name in scores else NOTHING
