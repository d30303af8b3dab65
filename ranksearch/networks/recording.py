"""How a model uses its layers when it runs: the shapes of each call, and uses that forbid replacement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from torch import Tensor, nn

from ranksearch.networks.batches import Batch
from ranksearch.networks.outputs import Output, one_tensor
from ranksearch.networks.running import run_once

Shape = tuple[int, ...]
Seen = dict[str, list[tuple[Shape, Shape]]]
"""By name, in order of first call: the input and output shapes of each call."""

Noted = TypeVar("Noted")


def input_of(args: tuple[Tensor, ...], kwargs: Mapping[str, Tensor]) -> Tensor:
    """What a layer was called with, by position or by keyword.

    returns: A (…) tensor.
    """
    return args[0] if args else kwargs["input"]


def shapes(given: Tensor, output: Tensor) -> tuple[Shape, Shape]:
    """Those of a call's input and output."""
    return tuple(given.shape), tuple(output.shape)


def run_recorded(
    root: nn.Module,
    modules: Mapping[str, nn.Module],
    example: Batch,
    note: Callable[[Tensor, Tensor], Noted],
    result: Output = one_tensor,
) -> tuple[dict[str, list[Noted]], Tensor]:
    """One forward pass of `root` in evaluation mode: by name, the result of `note` for the input and output of each
    call of some of its modules; and the output."""
    seen: dict[str, list[Noted]] = {}

    def recorder(name: str) -> Callable[..., None]:
        def record(_: nn.Module, args: tuple[Tensor, ...], kwargs: dict[str, Tensor], output: Tensor) -> None:
            seen.setdefault(name, []).append(note(input_of(args, kwargs), output))

        return record

    handles = [m.register_forward_hook(recorder(name), with_kwargs=True) for name, m in modules.items()]
    try:
        return seen, run_once(root, example, result)
    finally:
        for handle in handles:
            handle.remove()
