"""Tracking from Python: what is searched, compressed and saved, recorded in tools for experiments."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ranksearch.api.names import listed
from ranksearch.keywords import checks_keywords
from ranksearch.tracking import Tracking, trackers


@checks_keywords
def track(to: str | Sequence[str], folder: str | Path = ".") -> Tracking:
    """A recorder for `search`, `compress` and `save`, to be used in a `with` statement and passed as `track`.

    to: "tensorboard", whose files are in `tensorboard` in the folder; "mlflow", where its own MLFLOW_TRACKING_URI says,
    in the active run or in a new one; or a tracker of your own. `search` records its parameters, and cost and scores of
    each plan, `compress` the losses of training, `save` the figures of the model beside the dense one's.

    Raises InputError where the package that a tracker needs is missing. One that fails later costs a warning.
    """
    return Tracking(trackers(listed(to)), Path(folder))
