"""Memory of a forward pass: what its tensors take beside the weights, at the moment when that is most."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ranksearch.networks import Batch, attention_fast_path, call_once, eval_mode, tensors


def peak_activation_bytes(model: nn.Module, batch: Batch) -> int:
    """The most bytes that tensors take at once in a forward pass in evaluation mode, the batch itself included.

    Counted, not sampled: every operation's outputs from when they are made until nothing refers to them any more, views
    with what they are views of. Weights and buffers do not count, and neither does the scratch memory within an
    operation. Fused attention kernels are disabled, since they hide theirs.

    batch: On the model's device.
    """
    given = {(storage := tensor.untyped_storage())._cdata: storage.nbytes() for tensor in tensors(batch)}
    counted = _Counted(model)
    with eval_mode(counted), attention_fast_path(False):
        call_once(counted, batch)
    return sum(given.values()) + counted.live.peak


class _Counted(nn.Module):
    """A model that counts while its own forward runs, and not while its state is copied around it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model
        self.live = _Live()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        with self.live:
            return self.inner(*args, **kwargs)


class _Live(TorchDispatchMode):
    """Adds up the storages of what operations return, while they are alive. peak: the most bytes so far."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = 0
        self._bytes: dict[int, int] = {}
        self._before: dict[int, torch.UntypedStorage] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            storage = tensor.untyped_storage()
            if (
                storage._cdata not in self._bytes
            ):  # it was there before the pass; held, so that its key stays its own
                self._before[storage._cdata] = storage
        returned = func(*args, **kwargs)
        for tensor in _tensors(returned):
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._before:
                if key not in self._bytes:
                    weakref.finalize(storage, self._bytes.pop, key, None)
                self._bytes[key] = storage.nbytes()
        self.peak = max(self.peak, sum(self._bytes.values()))
        return returned


def _tensors(value: Any) -> Iterator[Tensor]:
    """The tensors with storages among an operation's arguments or results."""
    if isinstance(value, Tensor):
        if value.layout is torch.strided:
            yield value
    elif isinstance(value, dict):
        yield from _tensors([*value.values()])
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
