"""Contract tests of trackers.

Subclass `TrackerContract` under a name that begins with `Test`, with a fixture `tracker` that returns yours, and a
fixture `read`, a function from a folder to what the tool holds of the run that was tracked there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from ranksearch.tracking import Tracker, Tracking


@dataclass(frozen=True)
class Held:
    """What a tool holds of a run. metrics: by name, the (step, value) pairs in order."""

    parameters: Mapping[str, str]
    metrics: Mapping[str, Sequence[tuple[int, float]]]


Read = Callable[[Path], Held]

WANTED = {"budget": "0.5,0.3", "model": "a|b", "none": "None", "long": "x" * 700}
LOSSES = [2.5, 1.25, 0.5]


class TrackerContract:
    """Checks of one tracker. They are skipped where a package that it needs is missing."""

    @pytest.fixture(autouse=True)
    def _packages(self, tracker: Tracker) -> None:
        for package in tracker.packages:
            pytest.importorskip(package)

    def test_what_is_recorded_is_held(self, tracker: Tracker, read: Read, tmp_path: Path) -> None:
        """Parameters as text, and numbers at their steps."""
        run = tracker.open(tmp_path)
        run.parameters(WANTED)
        run.parameters({"epochs": "2"})
        for step, loss in enumerate(LOSSES, 1):
            run.metrics({"loss/fine-tuning 0.5": loss, "loss/doubled": 2 * loss}, step)
        run.metrics({"delivered 0.5/params": 1234.0}, None)
        run.close(failed=False)
        held = read(tmp_path)
        assert dict(held.parameters) == WANTED | {"epochs": "2"}
        assert list(held.metrics["loss/fine-tuning 0.5"]) == list(enumerate(LOSSES, 1))
        assert list(held.metrics["loss/doubled"]) == [(k, 2 * loss) for k, loss in enumerate(LOSSES, 1)]
        assert [value for _, value in held.metrics["delivered 0.5/params"]] == [1234.0]

    def test_a_run_goes_on(self, tracker: Tracker, read: Read, tmp_path: Path) -> None:
        """One that was ended early, in the same folder; parameters may be told again."""
        for step, failed in ((1, True), (2, False)):
            run = tracker.open(tmp_path)
            run.parameters({"budget": "0.5"})
            run.metrics({"loss/fine-tuning": float(step)}, step)
            run.close(failed=failed)
        held = read(tmp_path)
        assert dict(held.parameters) == {"budget": "0.5"}
        assert list(held.metrics["loss/fine-tuning"]) == [(1, 1.0), (2, 2.0)]

    def test_the_run_draws_the_same_random_numbers(self, tracker: Tracker, tmp_path: Path) -> None:
        def drawn() -> tuple[float, float, float]:
            return torch.rand(()).item(), float(np.random.rand()), random.random()

        def seed() -> None:
            torch.manual_seed(3)
            np.random.seed(3)
            random.seed(3)

        seed()
        wanted = drawn()
        seed()
        with Tracking([tracker], tmp_path) as track:
            track.parameters({"budget": 0.5})
            track.loss("fine-tuning", 1, 0.5)
        assert drawn() == wanted

    def test_it_says_what_it_is(self, tracker: Tracker) -> None:
        assert tracker.name.isidentifier()
        assert bool(tracker.packages) <= bool(tracker.install)
