"""What a command does, recorded by the trackers that its options name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ranksearch.progress import Progress, Reporter
from ranksearch.runs.options import RunOptions
from ranksearch.runs.settings import recorded
from ranksearch.tracking import Tracking, trackers


def tracking(options: RunOptions, folder: Path) -> Tracking:
    """The trackers that options name, for a run in a folder. Raises InputError for one that cannot be used."""
    return Tracking(trackers(options.track), folder)


def record_options(track: Tracking, options: RunOptions) -> None:
    """What the run was asked for, as plan files keep it."""
    track.parameters(recorded(options))


@dataclass(frozen=True)
class Recording:
    """A reporter whose losses and best scores are recorded as well."""

    reporter: Reporter
    track: Tracking

    def line(self, text: str) -> None:
        """A fact."""
        self.reporter.line(text)

    @cached_property
    def _followed(self) -> Progress:
        return self.track.following(self.reporter.progress)

    def progress(self, stage: str, done: int, total: int, best: float | None = None) -> None:
        """See `Progress`."""
        self._followed(stage, done, total, best)

    def loss(self, stage: str, step: int, value: float) -> None:
        """See `Losses`."""
        self.reporter.loss(stage, step, value)
        self.track.loss(stage, step, value)
