"""What TensorBoard and MLflow hold of a run, read with their own packages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ranksearch.testing import Held


def tensorboard(folder: Path) -> Held:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    scalars = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    (text,) = events.Tensors("parameters/text_summary")[-1].tensor_proto.string_val
    rows = re.findall(r"^\| (\w+) \| (.*) \|$", text.decode(), re.MULTILINE)
    parameters = {name: value.replace("\\|", "|") for name, value in rows if name != "parameter"}
    return Held(parameters, {name: [(x.step, x.value) for x in found] for name, found in scalars.items()})


def mlflow(folder: Path) -> Held:
    from mlflow.tracking import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("ranksearch")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == folder.name
    assert run.info.status == "FINISHED"
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return Held(run.data.params, {name: [(x.step, x.value) for x in h] for name, h in histories.items()})


READERS: dict[str, Callable[[Path], Held]] = {"tensorboard": tensorboard, "mlflow": mlflow}
