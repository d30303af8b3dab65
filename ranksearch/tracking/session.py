"""What a run tells of itself, to every tracking tool that was asked for."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from ranksearch.errors import told
from ranksearch.networks import seeded
from ranksearch.planning import PlanRecord
from ranksearch.progress import Progress
from ranksearch.redaction import redact
from ranksearch.searching import SearchResult
from ranksearch.tracking.base import TrackedRun, Tracker

log = logging.getLogger(__name__)

Say = Callable[[TrackedRun], None]


class Tracking:
    """Parameters, evaluated plans, losses and delivered models of a run, recorded by trackers.

    A tool is opened when there is something to record. One that fails costs a warning, and hears no more. None of them
    can change the run's random numbers. As a context manager it closes the tools at the end.
    """

    def __init__(self, trackers: Sequence[Tracker], folder: Path) -> None:
        self._folder = folder
        self._runs: dict[Tracker, TrackedRun | None] = dict.fromkeys(trackers)
        self._plans: dict[str, int] = {}

    def parameters(self, values: Mapping[str, object]) -> None:
        """What was asked for, each as text; lists with commas."""
        texts = {name: _text(value) for name, value in values.items()}
        self._each(lambda run: run.parameters(texts))

    def evaluated(self, results: Sequence[SearchResult]) -> None:
        """Cost and scores of each plan that a search evaluated, by its number among those of its budget."""
        for result in results:
            group = f"plans {result.budget.name}"
            for record in result.records:
                number = self._plans[group] = self._plans.get(group, -1) + 1
                self._metrics(group, {**record.plan.cost.amounts, **record.scores}, number)

    def loss(self, stage: str, step: int, value: float) -> None:
        """The loss of a step of training."""
        self._metrics("loss", {stage: value}, step)

    def following(self, progress: Progress) -> Progress:
        """The same progress, whose best scores are recorded as well."""

        def told_both(stage: str, done: int, total: int, best: float | None = None) -> None:
            progress(stage, done, total, best)
            if best is not None:
                self._metrics("best", {stage: best}, done)

        return told_both

    def delivered(self, record: PlanRecord) -> None:
        """Figures of a delivered model, and those of the dense one."""
        dense, after = _figures(record)
        self._metrics("dense", dense, None)
        self._metrics(f"delivered {record.asked}", after, None)

    def close(self, *, failed: bool = False) -> None:
        """Have every tool write what is left."""
        self._each(lambda run: run.close(failed=failed), opening=False)
        self._runs = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=kind is not None)

    def _metrics(self, group: str, values: Mapping[str, float | None], step: int | None) -> None:
        found = {
            _name(f"{group}/{name}"): float(value)
            for name, value in values.items()
            if value is not None and isfinite(value)
        }
        if found:
            self._each(lambda run: run.metrics(found, step))

    def _each(self, say: Say, *, opening: bool = True) -> None:
        for tracker, run in list(self._runs.items()):
            if run is None and not opening:
                continue
            try:
                with seeded(0, torch.device("cpu")):
                    if run is None:
                        run = self._runs[tracker] = tracker.open(self._folder)
                    say(run)
            except Exception as error:  # whatever a tool or its server raises
                del self._runs[tracker]
                log.warning("track %s: %s. The run goes on without it.", tracker.name, redact(told(error)))


def _figures(record: PlanRecord) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Of the dense model, and of the delivered one."""
    dense: dict[str, float | None] = dict(record.dense)
    after: dict[str, float | None] = dict(record.cost)
    after |= {f"divergence {name}": record.scores.get(name) for name in ("factorised", "delivered")}
    for role, found in record.behaviour.items():
        dense[f"{found.metric} {role}"] = found.dense
        after[f"{found.metric} {role}"] = found.delivered
        if found.drop is not None:
            after[f"drop {role}"] = found.drop.mean
        if found.predictions is not None:
            after[f"flips {role}"] = found.predictions.flips
    if (taken := record.footprint) is not None:
        dense["bytes of weights"] = taken.dense.bytes
        after["bytes of weights"] = taken.compressed.bytes
        if taken.time is not None:
            dense["ms"] = 1000 * taken.time.dense_seconds
            after["ms"] = 1000 * taken.time.seconds
    return dense, after


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(_text, value))
    return str(value)[:6000]  # the most that MLflow keeps


def _name(text: str) -> str:
    """Letters, digits and what MLflow allows besides."""
    return " ".join(re.sub(r"[^\w./ -]", " ", text).split())
