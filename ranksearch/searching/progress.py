"""How a search tells what it is doing."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called when a stage begins and after each of its evaluations.

    `stage` is the objective's name and the budget (`divergence 0.2`), `done` of `total` trials are finished,
    `best` is the best score so far, None before the first.
    """

    def __call__(self, stage: str, done: int, total: int, best: float | None) -> None: ...


def no_progress(stage: str, done: int, total: int, best: float | None) -> None:
    """Tells nobody."""
