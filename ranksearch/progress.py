"""How what takes long tells where it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Ticks = Callable[[int, int], None]
"""Called with how much of one stage is done, and how much there is."""


class Progress(Protocol):
    """Called when a stage begins and whenever it has got further."""

    def __call__(self, stage: str, done: int, total: int, best: float | None = None) -> None:
        """`done` of `total` of a stage are finished; `best` is the best score so far, None where there is none."""


Losses = Callable[[str, int, float], None]
"""Called with a stage of training, the number of a step, from 1 on, and its loss."""


class Reporter(Protocol):
    """Whoever wants to know how a run is going."""

    def line(self, text: str) -> None:
        """A fact."""

    def progress(self, stage: str, done: int, total: int, best: float | None = None) -> None:
        """See `Progress`."""

    def loss(self, stage: str, step: int, value: float) -> None:
        """See `Losses`."""


def no_progress(stage: str, done: int, total: int, best: float | None = None) -> None:
    """Reports to nobody."""


def no_ticks(done: int, total: int) -> None:
    """Reports to nobody."""


def no_losses(stage: str, step: int, value: float) -> None:
    """Reports to nobody."""


def ticks(progress: Progress, stage: str) -> Ticks:
    """The progress of one stage by that name."""
    return lambda done, total: progress(stage, done, total)


def renamed(progress: Progress, form: str) -> Progress:
    """Stages under other names: `form` with their own in place of `{}`."""
    return lambda stage, done, total, best=None: progress(form.replace("{}", stage, 1), done, total, best)
