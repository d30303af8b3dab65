"""MLflow, which is loaded when there is something to record."""

from __future__ import annotations

from pathlib import Path

from ranksearch.tracking.base import TrackedRun, Tracker


class MLflow(Tracker):
    """A run in MLflow, or more metrics of the one that is active already."""

    name = "mlflow"
    packages = ("mlflow",)
    install = "pip install 'ranksearch[mlflow]'"

    def open(self, folder: Path) -> TrackedRun:
        from ranksearch.tracking.mlflow_run import opened

        return opened(folder)
