"""probe.json: what a probe found, checked on the way in and out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from pydantic import FiniteFloat

from ranksearch.costs import Cost, layer_cost
from ranksearch.networks import Layer, kernel_shape
from ranksearch.probing.recovery import Epoch
from ranksearch.probing.scores import Judge, ProbeImages
from ranksearch.probing.speed import Speed
from ranksearch.probing.verdict import Point, Verdict
from ranksearch.records import Record, read_record
from ranksearch.tasks import Estimate


class Measured(Record):
    """A mean and its standard error; null where it is not finite."""

    mean: FiniteFloat | None
    stderr: FiniteFloat | None


class ImagesRecord(Record):
    """Which images of which role were evaluated: positions in that role's data."""

    role: str
    count: int
    indices: tuple[int, ...]


class DenseScores(Record):
    """Scores of the unmodified model; accuracy and loss are null without labels. chance: the score at chance level.
    bytes: of the tensors in its weights file; null in older files."""

    params: int
    flops: int
    bytes: int | None = None
    accuracy: Measured | None
    loss: Measured | None
    chance: FiniteFloat


class PointRecord(Record):
    """See `Point`. bytes: null in older files."""

    budget: FiniteFloat
    params: int
    flops: int
    bytes: int | None = None
    epsilon: FiniteFloat
    kl: FiniteFloat
    accuracy: FiniteFloat | None
    measured: bool


class ProbedLayer(Record):
    """A layer in the verdict; reason: why it has to stay dense, null if it can be factorised. See `LayerVerdict`."""

    name: str
    shape: tuple[int, ...]
    params: int
    flops: int
    reason: str | None
    score: FiniteFloat | None
    kept: FiniteFloat | None
    candidate: str | None
    drop: FiniteFloat | None
    entropy: dict[str, FiniteFloat]
    """By cut, the entanglement entropy of the plain spectrum, in nats."""
    prefix_reused: bool | None
    """Whether the sweep only ran the part of the model after the layer; null if the layer was not swept."""


class TimeRecord(Record):
    """Seconds of a forward pass of the plan at a budget. low, high: their 95 % interval; null in older files."""

    budget: FiniteFloat
    seconds: FiniteFloat
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None


class SpeedRecord(Record):
    """See `Speed` and `Conditions`. version, processor: null in older files."""

    runtime: str = "torch"
    version: str | None = None
    batch: int
    threads: int
    device: str
    processor: str | None = None
    dense: FiniteFloat
    plans: tuple[TimeRecord, ...]

    def gain(self, budget: float) -> float | None:
        """How many times faster than the dense model the plan at a budget is; None if it was not timed."""
        found = [x.seconds for x in self.plans if x.budget == budget]
        return self.dense / found[0] if found and found[0] > 0 else None


class VerdictRecord(Record):
    """See `Verdict`. score: 1 − budget of `trouble`."""

    threshold: FiniteFloat
    score: FiniteFloat
    trouble: PointRecord
    front: tuple[PointRecord, ...]
    spare: tuple[str, ...]
    speed: SpeedRecord | None = None


class EpochRecord(Record):
    """Scores after an epoch of recovery."""

    way: Literal["projected", "factorised"]
    epoch: int
    params: int
    accuracy: Measured | None
    kl: Measured


class RecoveryRecord(Record):
    """Recovery from truncation at a norm across a cut; epochs of all ways that were tried."""

    cut: str
    norm: FiniteFloat
    layers: int
    project_each: Literal["epoch", "step"]
    epochs: tuple[EpochRecord, ...]


class ProbeRecord(Record):
    """What probe.json holds. weights: digest of the model's weights; null in older files."""

    version: Literal[2]
    model: str | None
    weights: str | None = None
    task_metric: str
    images: ImagesRecord | None
    dense: DenseScores
    layers: tuple[ProbedLayer, ...]
    verdict: VerdictRecord | None
    recovery: RecoveryRecord | None


def measured(estimate: Estimate | None) -> Measured | None:
    """An estimate as it is stored."""
    if estimate is None:
        return None
    mean, stderr = (x if isfinite(x) else None for x in (estimate.mean, estimate.stderr))
    return Measured(mean=mean, stderr=stderr)


def dense_record(cost: Cost, size: int, judge: Judge | None) -> DenseScores:
    """The dense model's cost, the size of its weights file in bytes, and its scores."""
    scores = judge.dense if judge else None
    return DenseScores(
        params=cost.params,
        flops=cost.flops,
        bytes=size,
        accuracy=measured(scores.accuracy) if scores else None,
        loss=measured(scores.loss) if scores else None,
        chance=judge.chance if judge else 0.0,
    )


def images_record(images: ProbeImages) -> ImagesRecord:
    """Which images were used."""
    return ImagesRecord(role=images.role, count=len(images.indices), indices=images.indices)


def layer_records(
    layers: Sequence[Layer],
    entropy: Mapping[str, Mapping[str, float]],
    verdict: Verdict | None,
    reused: Mapping[str, bool],
) -> tuple[ProbedLayer, ...]:
    """All layers, including those that stay dense; entropy by layer and cut."""
    judged = {x.name: x for x in verdict.layers} if verdict else {}
    records = []
    for layer in layers:
        found = judged.get(layer.name)
        records.append(
            ProbedLayer(
                name=layer.name,
                shape=kernel_shape(layer),
                params=layer_cost(layer).params,
                flops=layer_cost(layer).flops,
                reason=layer.reason,
                score=found.score if found else None,
                kept=found.kept if found else None,
                candidate=found.candidate if found else None,
                drop=found.drop if found else None,
                entropy=dict(entropy.get(layer.name, {})),
                prefix_reused=reused.get(layer.name),
            )
        )
    return tuple(records)


def verdict_record(verdict: Verdict) -> VerdictRecord:
    """The verdict as it is stored."""
    return VerdictRecord(
        threshold=verdict.threshold,
        score=verdict.score,
        trouble=_point(verdict.trouble),
        front=tuple(_point(point) for point in verdict.front),
        spare=verdict.spare,
        speed=_speed(verdict.speed) if verdict.speed else None,
    )


def _speed(speed: Speed) -> SpeedRecord:
    held, dense = speed.conditions, speed.dense
    return SpeedRecord(
        runtime=held.runtime,
        version=held.version,
        batch=held.batch,
        threads=held.threads,
        device=held.device,
        processor=held.processor,
        dense=dense,
        plans=tuple(
            TimeRecord(budget=budget, seconds=dense * r.median, low=dense * r.low, high=dense * r.high)
            for budget, r in speed.plans.items()
        ),
    )


def _point(point: Point) -> PointRecord:
    return PointRecord(
        budget=point.budget,
        params=point.cost.params,
        flops=point.cost.flops,
        bytes=point.bytes,
        epsilon=point.epsilon,
        kl=point.kl,
        accuracy=point.accuracy,
        measured=point.measured,
    )


def epoch_record(epoch: Epoch) -> EpochRecord:
    """An epoch as it is stored."""
    kl = measured(epoch.scores.kl)
    assert kl is not None
    return EpochRecord(
        way=epoch.way,
        epoch=epoch.epoch,
        params=epoch.params,
        accuracy=measured(epoch.scores.accuracy),
        kl=kl,
    )


def read_probe(path: Path) -> ProbeRecord:
    """Read probe.json. Raises InputError."""
    return read_record(path, ProbeRecord, "probe", {1: _upgraded})


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """What a file of version 1 says, which calls the task metric `metric`, in the words of version 2."""
    found = {"task_metric" if key == "metric" else key: value for key, value in data.items()}
    return found | {"version": 2}


def read_recovery(path: Path) -> RecoveryRecord:
    """Read recovery.json, the state of an unfinished recovery. Raises InputError."""
    return read_record(path, RecoveryRecord, "recovery")
