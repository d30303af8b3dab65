"""The trackers, by name."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec

from ranksearch.errors import InputError, expected
from ranksearch.registry import Registry
from ranksearch.tracking.base import Tracker

TRACKERS: Registry[Tracker] = Registry(
    "track", "ranksearch.trackers", lambda thing: isinstance(thing, Tracker), "a Tracker"
)

_HERE = "ranksearch.tracking"
TRACKERS.offer("tensorboard", f"{_HERE}.to_tensorboard:TensorBoard", "event files in OUT/tensorboard")
TRACKERS.offer("mlflow", f"{_HERE}.to_mlflow:MLflow", "where MLFLOW_TRACKING_URI says")


def trackers(specs: Iterable[str]) -> tuple[Tracker, ...]:
    """The trackers of these names, or of `file.py:OBJECT`, each once.

    Raises InputError where a package that one of them needs is missing.
    """
    found = tuple(dict.fromkeys(TRACKERS.resolve(spec) for spec in specs))
    for tracker in found:
        if missing := [name for name in tracker.packages if find_spec(name) is None]:
            wanted = f"the packages {', '.join(tracker.packages)}"
            got = f"no {', '.join(missing)}"
            raise InputError(expected(f"track {tracker.name}", wanted, got, tracker.install))
    return found
