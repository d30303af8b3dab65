"""A run of the experiment that MLFLOW_EXPERIMENT_NAME names, on the server that MLFLOW_TRACKING_URI names."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from ranksearch.redaction import conceal
from ranksearch.tracking.base import TrackedRun

EXPERIMENT = "ranksearch"
FOLDER = "ranksearch.folder"
"""The tag by which a run that is continued is found again."""

AT_ONCE = 100
"""What a server takes in one request, of parameters; of metrics ten times as many."""

EVERY = 2.0
"""Seconds between requests."""


def opened(folder: Path) -> TrackedRun:
    """The active run, the one that was begun in the folder, or a new one."""
    conceal(mlflow.get_tracking_uri())  # a password in it is in no message
    client, place = MlflowClient(), str(folder.absolute())
    if (active := mlflow.active_run()) is not None:
        return _Run(client, active.info.run_id, own=False)
    experiment = _experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)
    wanted = f"tags.`{FOLDER}` = '{place}'"
    begun = client.search_runs([experiment], wanted, max_results=1) if "'" not in place else []
    if begun:
        client.update_run(begun[0].info.run_id, status="RUNNING")
        return _Run(client, begun[0].info.run_id)
    made = client.create_run(experiment, run_name=folder.name, tags={FOLDER: place})
    return _Run(client, made.info.run_id)


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    return str(client.create_experiment(name) if found is None else found.experiment_id)


class _Run(TrackedRun):
    """Metrics are sent together, every few seconds: a step of fine-tuning is not to wait for a server.

    own: whether the run is ended here.
    """

    def __init__(self, client: MlflowClient, run: str, *, own: bool = True) -> None:
        self._client, self._id, self._own = client, run, own
        self._known = set(client.get_run(run).data.params)
        self._waiting: list[Metric] = []
        self._sent = time.monotonic()

    def parameters(self, values: Mapping[str, str]) -> None:
        # MLflow takes no second value of a parameter.
        new = [Param(name, value) for name, value in values.items() if name not in self._known]
        self._known |= values.keys()
        for k in range(0, len(new), AT_ONCE):
            self._client.log_batch(self._id, params=new[k : k + AT_ONCE])

    def metrics(self, values: Mapping[str, float], step: int | None) -> None:
        now = int(time.time() * 1000)
        self._waiting += [Metric(name, value, now, step or 0) for name, value in values.items()]
        if time.monotonic() - self._sent > EVERY:
            self._send()

    def close(self, *, failed: bool) -> None:
        self._send()
        if self._own:
            self._client.set_terminated(self._id, "FAILED" if failed else "FINISHED")

    def _send(self) -> None:
        waiting, self._waiting, self._sent = self._waiting, [], time.monotonic()
        for k in range(0, len(waiting), 10 * AT_ONCE):
            self._client.log_batch(self._id, metrics=waiting[k : k + 10 * AT_ONCE])
