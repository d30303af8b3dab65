"""Batches of inputs: trees of tensors whose first axis counts the examples.

A batch is what a model is called with: a tensor (N, …); a tuple or list, its positional arguments; a dict, its keyword
arguments; each may hold further ones inside. Whatever in it is no tensor is the same for all examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

Batch = Any
"""A tree of tensors (N, …)."""


def tensors(batch: Batch) -> list[Tensor]:
    """The tensors of a batch, in the order of its tree."""
    return [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)]


def each(change: Callable[[Tensor], Tensor], batch: Batch) -> Batch:
    """The batch with every tensor changed."""
    return tree_map_only(Tensor, change, batch)


def arguments(batch: Batch) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a model is called with for a batch: positional arguments, and keyword arguments."""
    if isinstance(batch, Mapping):
        return (), dict(batch)
    return (tuple(batch), {}) if isinstance(batch, tuple | list) else ((batch,), {})


def refilled(tree: Any, others: Sequence[Tensor]) -> Any:
    """The tree with other tensors in place of its own, in their order; there are as many."""
    left = iter(others)
    return each(lambda _: next(left), tree)


def blank(batch: Batch) -> Batch:
    """The batch with zeros in place of its numbers."""
    return each(torch.zeros_like, batch)


def size(batch: Batch) -> int:
    """How many examples there are: the length of the first tensor that has one; 1 where none has."""
    return next((len(tensor) for tensor in tensors(batch) if tensor.dim()), 1)


def device_of(batch: Batch) -> torch.device:
    """Where the first tensor is; the CPU where there is none."""
    return next((tensor.device for tensor in tensors(batch)), torch.device("cpu"))


def to(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on a device."""
    return each(lambda tensor: tensor.to(device), batch)


def part(batch: Batch, start: int, stop: int) -> Batch:
    """Examples `start` to `stop`, without the latter."""
    return each(lambda tensor: tensor[start:stop] if tensor.dim() else tensor, batch)


def head(batch: Batch, count: int) -> Batch:
    """The first examples; all where there are fewer."""
    return part(batch, 0, count)


def split(batch: Batch, count: int) -> list[Batch]:
    """Batches of `count` examples, the last one maybe smaller."""
    total = size(batch)
    return [part(batch, start, min(start + count, total)) for start in range(0, total, count)]


def cat(batches: Sequence[Batch]) -> Batch:
    """One batch of the examples of several, whose trees are alike."""
    leaves, trees = zip(*map(tree_flatten, batches), strict=True)
    joined = [
        torch.cat(column) if isinstance(column[0], Tensor) and column[0].dim() else column[0]
        for column in zip(*leaves, strict=True)
    ]
    return tree_unflatten(joined, trees[0])


def repeated(batch: Batch, count: int) -> Batch:
    """The first example, so many times."""
    return each(
        lambda t: t[:1].expand(count, *t.shape[1:]).contiguous() if t.dim() else t,
        batch,
    )


def shapes_of(batch: Batch) -> Any:
    """The tree with shapes in place of tensors, for messages."""
    if isinstance(batch, Mapping):
        return {key: shapes_of(value) for key, value in batch.items()}
    if isinstance(batch, tuple | list):
        return tuple(shapes_of(value) for value in batch)
    return tuple(batch.shape) if isinstance(batch, Tensor) else batch


def same(a: Batch, b: Batch) -> bool:
    """Whether two batches hold the same numbers, NaN among them."""
    return len(tensors(a)) == len(tensors(b)) and all(
        torch.equal(x.nan_to_num(), y.nan_to_num()) for x, y in zip(tensors(a), tensors(b), strict=True)
    )
