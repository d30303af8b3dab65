"""What is said of a run's time, and when nothing is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ranksearch.runs import RunOptions
from ranksearch.runs.expectation import (
    Expectation,
    describe_left,
    describe_training,
    expectation,
    in_words,
)
from ranksearch.runs.tasks import build_task


class Lines:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def line(self, text: str) -> None:
        self.told.append(text)

    def progress(self, stage: str, done: int, total: int, best: float | None = None) -> None:
        raise AssertionError("nothing here takes long")

    def loss(self, stage: str, step: int, value: float) -> None:
        raise AssertionError("nothing is trained here")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "under a minute"), (61, "about 1 minute"), (200, "about 3 minutes"), (9000, "about 2.5 hours")],
)
def test_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words


def test_what_is_left_adds_up() -> None:
    found = Expectation(pace=0.01, training=100, models=3, at_most=False)
    assert found.left(fitting=20, evaluated=1000) == pytest.approx(3 * (20 + 100) + 0.01 * 1000 * 4)


def test_steps_of_fine_tuning_count_and_long_ones_are_announced() -> None:
    options = RunOptions(budget=("0.5", "0.3"), epochs=2)
    task = build_task(options)
    found = expectation(task, options)
    none = expectation(task, options.model_copy(update={"epochs": 0}))
    assert (found.models, none.training) == (2, 0)
    steps = 2 * (len(task.splits.finetune) // task.batch_size)
    assert found.training == pytest.approx(4 * steps * task.batch_size * found.pace)
    quick, slow = Lines(), Lines()
    describe_training(replace(found, training=20), task, options, quick)
    assert not quick.told
    describe_training(replace(found, training=200), task, options, slow)
    images = steps // 2 * task.batch_size
    assert slow.told == [
        f"fine-tuning: about 3 minutes for each of 2 models (2 epochs of {images:,} examples on the CPU); "
        "`epochs=0` leaves it out"
    ]
    describe_left(replace(found, at_most=True), task, 5, 0.0, slow)
    assert slow.told[-1].startswith("time: at most ")
