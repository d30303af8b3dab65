"""The interface of runtimes: what runs a model, and tells how long its parts take."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar, NamedTuple

from torch import nn

from ranksearch.networks import Batch, Chain, Layer

Chains = Mapping[str, Chain]
"""By layer name, the chain that takes its place; the other layers stay dense."""


class Part(NamedTuple):
    """One timed operation: a factor of a layer's chain, or, as number 0, the dense layer."""

    layer: str
    number: int


@dataclass(frozen=True)
class Profile:
    """Seconds of one forward pass: of each part, in all its calls, and of everything.

    A profiler slows a model down, so that only the parts' shares of the whole count. Of layers of equal shape one may
    stand for all.
    """

    parts: Mapping[Part, float]
    whole: float

    def of(self, seconds: float) -> dict[Part, float]:
        """Seconds of each part in a pass that takes so long without the profiler."""
        return {part: seconds * own / self.whole for part, own in self.parts.items()}


@dataclass(frozen=True)
class Workload:
    """What is timed: a model in evaluation mode, which is not changed, on one batch.

    layers: those whose parts are timed. threads: of the CPU. laid_out: puts a module into the order of memory, and onto
    the device, in which it runs.
    """

    model: nn.Module
    layers: Sequence[Layer]
    batch: Batch
    threads: int
    laid_out: Callable[[nn.Module], nn.Module]


class Session(ABC):
    """A model that is ready to run on one batch."""

    @abstractmethod
    def run(self) -> None:
        """One forward pass."""

    def seconds(self) -> float:
        """What one forward pass takes by the clock."""
        began = perf_counter()
        self.run()
        return perf_counter() - began


class Profiled(Session):
    """A session that tells the times of its parts."""

    @abstractmethod
    def profile(self, passes: int) -> Profile:
        """The times of the parts, over some forward passes."""


class Prepared(ABC):
    """A dense model, ready to have its layers replaced by chains.

    Their weights are random: no runtime looks at values.
    """

    @abstractmethod
    def session(self, chains: Chains) -> Session:
        """The model with these chains."""

    @abstractmethod
    def profiled(self, chains: Chains) -> Profiled:
        """What the parts of the model with these chains are timed in: the model itself, or, where making that ready
        takes long, something quicker that runs the same parts."""


class Runtime(ABC):
    """Something that runs models. Stateless; one instance is registered under its name."""

    name: ClassVar[str]

    cpu_only: ClassVar[bool] = False
    """Whether it runs on the CPU wherever the model lies."""

    @abstractmethod
    def version(self) -> str:
        """Of the package that does the work, and of whatever else its times depend on."""

    @abstractmethod
    def prepare(self, workload: Workload) -> Prepared:
        """Make a model ready. Raises InputError if the runtime cannot run it, or lacks a package."""
