"""What the records of a command's deliveries say besides their plans."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import isfinite

from ranksearch.planning import DeliveryRecord, EstimateRecord, ImagesRecord, input_records
from ranksearch.redaction import without_folders
from ranksearch.runs.options import RunOptions
from ranksearch.runs.settings import delivery_epochs
from ranksearch.tasks import Estimate, Role, Task, metric_name
from ranksearch.tasks.sources import Data
from ranksearch.visible import visible


@dataclass
class Account:
    """The task metric of the dense model, by role, as far as it has been measured, and how it was all made."""

    task: Task
    data: Data
    options: RunOptions
    command: str
    dense: dict[Role, Estimate] = field(default_factory=dict)

    def record(self) -> DeliveryRecord:
        """As plan files have it."""
        preprocess = self.data.preprocess
        return DeliveryRecord(
            command=self.command,
            epochs=delivery_epochs(self.options),
            data=visible(_name_of(self.options.data_spec)),
            task_metric=metric_name(self.task),
            dense={role: _written(estimate) for role, estimate in self.dense.items()},
            inputs=dict(input_records(self.task.example)),
            images=None if preprocess is None else ImagesRecord(**asdict(preprocess)),
        )


def _name_of(data: str) -> str:
    """What to call data: the name of a folder of images or of a data set, else of the code that makes it."""
    source, _, rest = without_folders(data).partition(":")
    return {"imagefolder": rest, "torchvision": rest.partition(":")[0]}.get(source, without_folders(data))


def _written(estimate: Estimate) -> EstimateRecord:
    mean, stderr = (x if isfinite(x) else None for x in (estimate.mean, estimate.stderr))
    return EstimateRecord(mean=mean, stderr=stderr, count=estimate.count)
