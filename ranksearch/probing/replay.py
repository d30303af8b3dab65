"""Prefix reuse: everything before a changed layer is computed once, and replayed while the layer's kernel varies.

Python runs a model's forward sequentially. A submodule call that finishes before the changed layer is first
called cannot depend on that layer, so its output is that of the dense model. The model's own forward is run as
usual, except that the outermost of those finished calls return their stored outputs; code between modules is run
again, on the same values. This makes no assumption about the structure of the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from ranksearch.networks import Batch, call

Trace = tuple[tuple[str, bool], ...]
"""Calls of submodules in order: (name, True) where one begins, (name, False) where it ends."""

Ordinals = Mapping[str, tuple[int, ...]]
"""By name of a module, which of its calls (0, 1, …) are replayed."""

Replays = Mapping[str, tuple[Any, ...]]
"""By name of a module, the outputs that its first calls return."""


def traced(model: nn.Module, inputs: Batch) -> tuple[Trace, Any]:
    """One forward pass: the order of its submodules' calls, and its output."""
    trace: list[tuple[str, bool]] = []
    with _hooked(model, lambda name: trace.append((name, True)), lambda name, _: trace.append((name, False))):
        output = call(model, inputs)
    return tuple(trace), output


def finished_before(trace: Trace, layer: str) -> Ordinals:
    """The outermost calls that have ended when `layer` is first called; none where it never is."""
    seen: dict[str, int] = {}
    open_calls: list[tuple[str, int, list[tuple[str, int]]]] = [("", 0, [])]
    for name, begins in trace:
        if begins:
            if name == layer:
                break
            open_calls.append((name, seen.setdefault(name, 0), []))
            seen[name] += 1
        else:
            ended, ordinal, _ = open_calls.pop()
            open_calls[-1][2].append((ended, ordinal))
    else:
        return {}
    found: dict[str, tuple[int, ...]] = {}
    # Calls that are still open enclose the layer; their finished children are the outermost ones.
    for name, ordinal in sorted(done for _, _, children in open_calls for done in children):
        found[name] = (*found.get(name, ()), ordinal)
    return found


def captured(model: nn.Module, inputs: Batch, ordinals: Ordinals) -> tuple[Replays, Trace]:
    """One forward pass that keeps the outputs of some calls, copied: a later step may write into them."""
    counts: dict[str, int] = {}
    kept: dict[str, tuple[Any, ...]] = dict.fromkeys(ordinals, ())
    trace: list[tuple[str, bool]] = []

    def begins(name: str) -> None:
        trace.append((name, True))

    def ends(name: str, output: Any) -> None:
        trace.append((name, False))
        ordinal = counts.setdefault(name, 0)
        counts[name] += 1
        if ordinal in ordinals.get(name, ()):
            kept[name] = (*kept[name], copied(output))

    with _hooked(model, begins, ends):
        call(model, inputs)
    return kept, tuple(trace)


def copied(output: Any) -> Any:
    """A module's output with tensors of its own."""
    return tree_map(lambda leaf: leaf.clone() if isinstance(leaf, Tensor) else leaf, output)


def tensors_in(replays: Replays) -> list[Tensor]:
    """All tensors of the outputs."""
    return [leaf for outputs in replays.values() for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]


@contextmanager
def replaying(model: nn.Module, replays: Replays, *, fresh: bool = False) -> Iterator[None]:
    """The model's submodules return `replays` for as many calls as there are, then run themselves.

    With `fresh` each output is copied first, for models that write into them. Use a new context for each forward pass.
    """
    modules = dict(model.named_modules())
    before = {name: vars(modules[name]).get("forward") for name in replays}
    for name, outputs in replays.items():
        module = modules[name]
        # An instance attribute takes precedence over the class's forward, which hooks could not prevent from running.
        module.forward = _Replayed(outputs, module.forward, fresh)
    try:
        yield
    finally:
        for name, own in before.items():
            if own is None:
                del modules[name].forward
            else:
                modules[name].forward = own


@dataclass
class _Replayed:
    outputs: Sequence[Any]
    forward: Callable[..., Any]
    fresh: bool
    calls: int = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        if self.calls > len(self.outputs):
            return self.forward(*args, **kwargs)
        output = self.outputs[self.calls - 1]
        return copied(output) if self.fresh else output


@contextmanager
def _hooked(
    model: nn.Module, begins: Callable[[str], None], ends: Callable[[str, Any], None]
) -> Iterator[None]:
    """Reports every call of a submodule, but not of the model itself."""
    handles = []

    def attach(name: str, module: nn.Module) -> None:
        handles.append(module.register_forward_pre_hook(lambda *_: begins(name)))
        handles.append(module.register_forward_hook(lambda module, args, output: ends(name, output)))

    for name, module in model.named_modules():
        if name:
            attach(name, module)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
