"""`torch`: the model as PyTorch runs it, operation by operation."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import nn

from ranksearch.networks import Batch, call, device_of, eval_mode, threads, to
from ranksearch.timing.modules import with_chains
from ranksearch.timing.runtime import Chains, Part, Prepared, Profile, Profiled, Runtime, Session, Workload


class Eager(Runtime):
    """Parts are timed by hooks around the modules of chains and layers."""

    name = "torch"

    def version(self) -> str:
        return f"{torch.__version__} {platform.machine()}"

    def prepare(self, workload: Workload) -> Prepared:
        return _Prepared(workload)


@dataclass(frozen=True)
class _Prepared(Prepared):
    workload: Workload

    def session(self, chains: Chains) -> Session:
        return self.profiled(chains)

    def profiled(self, chains: Chains) -> Profiled:
        model, parts = with_chains(self.workload, chains)
        return _Session(model, parts, self.workload.batch, self.workload.threads)


class _Session(Profiled):
    def __init__(self, model: nn.Module, parts: Mapping[Part, nn.Module], batch: Batch, count: int) -> None:
        self._model, self._parts, self._threads = model, parts, count
        self._batch = to(batch, next((p.device for p in model.parameters()), device_of(batch)))

    def run(self) -> None:
        with threads(self._threads), eval_mode(self._model):
            call(self._model, self._batch)
            self._finish()

    def profile(self, passes: int) -> Profile:
        found: dict[Part, list[float]] = {part: [] for part in self._parts}
        whole: list[float] = []
        with threads(self._threads), eval_mode(self._model):
            for _ in range(passes):
                with self._clocks() as seconds:
                    began = perf_counter()
                    call(self._model, self._batch)
                    self._finish()
                    whole.append(perf_counter() - began)
                for part, own in found.items():
                    own.append(seconds.get(part, 0.0))
        return Profile({part: median(own) for part, own in found.items()}, median(whole))

    @contextmanager
    def _clocks(self) -> Iterator[dict[Part, float]]:
        """Adds up what each part takes, for one forward pass."""
        seconds: dict[Part, float] = {}
        started: dict[Part, float] = {}
        handles = []

        def begins(part: Part) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                self._finish()
                started[part] = perf_counter()

            return hook

        def ends(part: Part) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                self._finish()
                seconds[part] = seconds.get(part, 0.0) + perf_counter() - started[part]

            return hook

        for part, module in self._parts.items():
            handles.append(module.register_forward_pre_hook(begins(part)))
            handles.append(module.register_forward_hook(ends(part)))
        try:
            yield seconds
        finally:
            for handle in handles:
                handle.remove()

    def _finish(self) -> None:
        """A GPU works on while Python does."""
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            torch.cuda.synchronize()
