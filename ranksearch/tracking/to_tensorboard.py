"""TensorBoard, which is loaded when there is something to record."""

from __future__ import annotations

from pathlib import Path

from ranksearch.tracking.base import TrackedRun, Tracker


class TensorBoard(Tracker):
    """Event files in the folder `tensorboard` of the run."""

    name = "tensorboard"
    packages = ("tensorboard",)
    install = "pip install 'ranksearch[tensorboard]'"

    def open(self, folder: Path) -> TrackedRun:
        from ranksearch.tracking.tensorboard_run import opened

        return opened(folder)
