"""What a forward pass leaves behind in a model and in the global generators, taken back.

Some models count their calls, keep running averages, remember their last input, or draw random numbers, in evaluation
mode too. Results must not depend on how many passes came before: every pass starts from the model as it was handed in,
so that a second search finds the same plan.
"""

from __future__ import annotations

import copy
import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

_INTERNAL = frozenset(vars(nn.Module()))
"""Attributes that every module has: its parts, its hooks, its mode."""

_CONTAINERS = (list, dict, set, deque)

_leaves_nothing: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Models whose first pass left nothing behind: later ones are run as they are, without any of this."""


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators (of torch, NumPy and Python), seeded for a while; then they are as before."""
    ours, numpys = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        _seed(seed)
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(numpys)


Body = TypeVar("Body", bound=Callable[..., Any])


def draws_alone(function: Body) -> Body:
    """Has a function of the library draw from generators of its own: the caller's are as before when it returns."""

    @wraps(function)
    def alone(*args: Any, **kwargs: Any) -> Any:
        with seeded(0, torch.device("cuda" if torch.cuda.is_initialized() else "cpu")):
            return function(*args, **kwargs)

    return alone  # type: ignore[return-value]


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


@contextmanager
def undisturbed(model: nn.Module, device: torch.device) -> Iterator[None]:
    """One forward pass in evaluation mode, after which the model and the global generators are as before.

    The pass draws the same random numbers each time. Where modules are in training mode nothing is taken back: they are
    to change.
    """
    if _leaves_nothing.get(model) or any(module.training for module in model.modules()) or _unmade(model):
        yield
        return
    before = _Snapshot(model)
    with seeded(0, device):
        drawn = _drawn(device)
        try:
            yield
        finally:
            untouched = before.restore()
        _leaves_nothing[model] = untouched and _same_draws(drawn, _drawn(device))


def _unmade(model: nn.Module) -> bool:
    """Whether the first pass is what makes some parameters."""
    return any(map(is_lazy, model.parameters()))


def _drawn(device: torch.device) -> tuple[Any, ...]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda, random.getstate(), np.random.get_state(legacy=False)["state"]


def _same_draws(before: tuple[Any, ...], after: tuple[Any, ...]) -> bool:
    return (
        torch.equal(before[0], after[0])
        and (before[1] is None or torch.equal(before[1], after[1]))
        and before[2] == after[2]
        and before[3]["pos"] == after[3]["pos"]
        and bool(np.array_equal(before[3]["key"], after[3]["key"]))
    )


class _Snapshot:
    """What a model's modules hold, with copies of what can change in place. Parameters are taken to stay."""

    def __init__(self, model: nn.Module) -> None:
        # What scripts hold is out of reach.
        modules = [module for module in model.modules() if not isinstance(module, torch.jit.ScriptModule)]
        self._before = [(place, dict(place)) for module in modules for place in _places(module)]
        values = [v for _, was in self._before for name, v in was.items() if name not in _INTERNAL]
        kept = [v for v in values if isinstance(v, Tensor) and not isinstance(v, nn.Parameter)]
        self._tensors = [(v, _version(v), v.detach().clone()) for v in kept]
        self._containers = [(v, copy.copy(v)) for v in values if type(v) in _CONTAINERS]

    def restore(self) -> bool:
        """Put everything back; whether nothing had changed."""
        # A tensor that was written to may still be needed as it is, by a backward pass: its copy takes its place.
        written = {
            id(t): was for t, version, was in self._tensors if version is None or version != t._version
        }
        untouched = not written
        for place, was in self._before:
            untouched = untouched and _alike(place, was)
            for name in place.keys() - was.keys():
                del place[name]
            place.update({name: written.get(id(value), value) for name, value in was.items()})
        for container, was in self._containers:
            if not _alike(container, was):
                untouched = False
                container.clear()
                (container.update if isinstance(container, dict | set) else container.extend)(was)
        return untouched


def _places(module: nn.Module) -> tuple[dict[str, Any], ...]:
    """Where a module keeps its attributes, buffers, parameters and parts."""
    return vars(module), module._buffers, module._parameters, module._modules


def _alike(a: Any, b: Any) -> bool:
    """Whether two containers hold the very same things."""
    if isinstance(a, set):
        return bool(a == b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(a[key] is b[key] for key in b)
    return len(a) == len(b) and all(x is y for x, y in zip(a, b, strict=True))


def _version(tensor: Tensor) -> int | None:
    """How often a tensor was written to; None where nobody counts."""
    return None if tensor.is_inference() else tensor._version
