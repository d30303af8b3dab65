"""What a compressed model takes beside its costs: the size of its file, the memory and the time of a forward pass."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from ranksearch.costs import peak_activation_bytes
from ranksearch.errors import told
from ranksearch.networks import copy_model, repeated, stored_tensors, to
from ranksearch.planning.builder import chains_of
from ranksearch.planning.footprint_record import FootprintRecord, SizeRecord, TimeRecord
from ranksearch.planning.network import Network, timer_of
from ranksearch.planning.plan import Plan
from ranksearch.rewriting import restored
from ranksearch.tasks import Task
from ranksearch.timing import Ratio, Timer, TimingSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gauge:
    """Measures the compressed models of a task next to the dense one. Whatever cannot be measured costs a warning."""

    task: Task
    network: Network
    settings: TimingSettings

    def footprint(self, model: nn.Module, plan: Plan) -> FootprintRecord:
        """What the model of a plan takes."""
        return FootprintRecord(
            batch=self.settings.batch, dense=self._dense, compressed=self._size(model), time=self._time(plan)
        )

    @cached_property
    def timer(self) -> Timer | None:
        """None where the runtime cannot run the model."""
        if self.network.timer is not None:
            return self.network.timer
        try:
            return timer_of(self.task, self.network.layers, self.settings)
        except Exception as error:  # runtimes fail in ways of their own
            log.warning("time: not measured on %s (%s)", self.settings.runtime, told(error))
            return None

    @cached_property
    def _dense(self) -> SizeRecord:
        return self._size(restored(copy_model(self.task.model)))

    def _size(self, model: nn.Module) -> SizeRecord:
        batch = to(repeated(self.task.example, self.settings.batch), self.task.device)
        activations = None
        try:
            activations = peak_activation_bytes(self.task.laid_out(copy_model(model)), batch)
        except Exception as error:  # operations of a model's own may not let themselves be watched
            log.warning("activation memory: not counted (%s)", told(error))
        return SizeRecord(bytes=stored_tensors(model).nbytes, activation_bytes=activations)

    def ratio(self, plan: Plan) -> Ratio | None:
        """The time of a plan over the dense model's."""
        if self.timer is None:
            return None
        try:
            return self.timer.brief_ratio(chains_of(self.network.layers, plan))
        except Exception as error:
            log.warning("time: not measured on %s (%s)", self.settings.runtime, told(error))
            return None

    def _time(self, plan: Plan) -> TimeRecord | None:
        ratio = self.ratio(plan)
        if self.timer is None or ratio is None:
            return None
        held = self.timer.conditions
        return TimeRecord(
            runtime=held.runtime,
            version=held.version,
            processor=held.processor,
            threads=held.threads,
            batch=held.batch,
            dense_seconds=self.timer.seconds,
            ratio=ratio.median,
            low=ratio.low,
            high=ratio.high,
        )
