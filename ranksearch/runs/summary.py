"""Delivered models in plain values, for programs: what `--json` prints.

docs/command_line.md documents the keys. They are stable: later versions add some, and take none away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ranksearch.exporting import ExportRecord
from ranksearch.planning import EstimateRecord, PartRecord, PlanRecord

ROLES = ("validation", "test")


def models_summary(models: Sequence[dict[str, Any]], records: Sequence[PlanRecord]) -> dict[str, Any]:
    """Models of one run, as `model_summary` gives them, beside the dense one. records: theirs, at least one."""
    first = records[0]
    return {
        "model": first.model.name,
        "metric": first.metric,
        "task_metric": task_metric_of(records) or None,
        "dense": _of_dense(records),
        "models": [*models],
    }


def model_summary(
    record: PlanRecord,
    *,
    folder: Path | None = None,
    plan: Path | None = None,
    chosen: bool = True,
    exports: Iterable[ExportRecord] = (),
) -> dict[str, Any]:
    """A delivered model: what it costs, takes and scores, and where it is.

    chosen: whether the run is for it; with a largest drop instead of a budget others are delivered on the way.
    """
    taken = record.footprint
    time = None if taken is None else taken.time
    return {
        "budget": record.asked,
        "fraction": record.budget,
        "limit": record.limit,
        "chosen": chosen,
        "plan": _place(plan),
        "folder": _place(folder),
        "cost": dict(record.cost),
        "counted": None if record.part is None else _counted(record, record.part),
        "bytes": None if taken is None else taken.compressed.bytes,
        "activation_bytes": None if taken is None else taken.compressed.activation_bytes,
        "seconds": None if time is None else time.seconds,
        "time_ratio": None if time is None else {"median": time.ratio, "low": time.low, "high": time.high},
        "divergence": record.scores.get("delivered"),
        "error": record.scores.get("error"),
        "scores": {role: found for role in ROLES if (found := _score(record, role)) is not None},
        "behaviour": {role: found.model_dump(mode="json") for role, found in record.behaviour.items()},
        "promise": None if record.promise is None else record.promise.model_dump(mode="json"),
        "criteria": [found.model_dump(mode="json") for found in record.criteria],
        "exports": exports_summary(exports),
        "layers": {
            layer.name: {"decomposition": layer.decomposition, "form": layer.form, "ranks": [*layer.ranks]}
            | ({"int8": True} if layer.int8 else {})
            for layer in record.layers
        },
    }


def exports_summary(exports: Iterable[ExportRecord]) -> list[dict[str, Any]]:
    """Exported files of a model."""
    return [
        {"format": found.exporter, "file": found.file, "difference": found.difference} for found in exports
    ]


def _counted(record: PlanRecord, part: PartRecord) -> dict[str, Any]:
    """The part that the budget counts: what it is, its cost, and the dense model's."""
    cost = {name: record.counted(name, amount) for name, amount in record.cost.items()}
    return {"of": part.asked, "cost": cost, "dense": dict(part.dense)}


def task_metric_of(records: Sequence[PlanRecord]) -> str:
    """What the task metric is called; "" where no record says so."""
    told = [r.delivery.task_metric for r in records if r.delivery is not None]
    told += [found.metric for r in records for found in r.behaviour.values()]
    return next(iter(told), "")


def dense_score(records: Sequence[PlanRecord], role: str) -> EstimateRecord | None:
    """What the dense model scores on a part of the data; None where it was not measured."""
    told = [r.delivery.dense.get(role) for r in records if r.delivery is not None]
    told += [found.of_dense for r in records if (found := r.behaviour.get(role)) is not None]
    return next((found for found in told if found is not None), None)


def _of_dense(records: Sequence[PlanRecord]) -> dict[str, Any]:
    taken = next((r.footprint for r in records if r.footprint is not None), None)
    time = next((r.footprint.time for r in records if r.footprint is not None and r.footprint.time), None)
    scores = {role: dense_score(records, role) for role in ROLES}
    return {
        "cost": dict(records[0].dense),
        "bytes": None if taken is None else taken.dense.bytes,
        "activation_bytes": None if taken is None else taken.dense.activation_bytes,
        "seconds": None if time is None else time.dense_seconds,
        "scores": {role: found.model_dump(mode="json") for role, found in scores.items() if found},
    }


def _score(record: PlanRecord, role: str) -> dict[str, Any] | None:
    if record.scores.get(role) is None:
        return None
    count = record.behaviour[role].examples if role in record.behaviour else None
    return {"mean": record.scores[role], "stderr": record.scores.get(f"{role}_stderr"), "count": count}


def _place(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
