"""The interface of trackers: tools that record parameters and metrics of experiments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar


class TrackedRun(ABC):
    """A run that is open in a tracking tool. What its methods raise ends the tracking, never the run."""

    @abstractmethod
    def parameters(self, values: Mapping[str, str]) -> None:
        """Record what the run was asked for; may be called again, with more."""

    @abstractmethod
    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        """Record finite numbers at a step; None stands for figures of the whole run."""

    @abstractmethod
    def close(self, *, failed: bool) -> None:
        """Write what is left, and say how the run ended."""


class Tracker(ABC):
    """A tracking tool. Stateless; one instance is registered under its name."""

    name: ClassVar[str]
    """The name that selects it."""

    packages: ClassVar[tuple[str, ...]] = ()
    """Packages, as they are imported, that it needs."""

    install: ClassVar[str] = ""
    """The command that installs them."""

    @abstractmethod
    def open(self, folder: Path) -> TrackedRun:
        """The run that is at work in a folder; one that was begun there earlier goes on."""
