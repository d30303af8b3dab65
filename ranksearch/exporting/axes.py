"""The axes of inputs that may have another size in each call."""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn
from torch.export import Dim
from torch.utils._pytree import tree_map

from ranksearch.networks import Batch, arguments


def batch_axes(model: nn.Module, example: Batch) -> dict[str, Any]:
    """By parameter of the model's `forward`, which axes vary, as torch.export wants it: the first, alike in all, and of
    whole numbers (N, T), such as tokens and their mask, the second too where the model takes any length."""
    args, kwargs = arguments(example)
    named = inspect.signature(model.forward).bind(*args, **kwargs).arguments
    batch = Dim("batch")

    def axes(leaf: Any) -> dict[int, Any] | None:
        if not isinstance(leaf, Tensor) or not leaf.dim():
            return None
        return {0: batch, 1: Dim.AUTO} if leaf.dim() == 2 and not leaf.is_floating_point() else {0: batch}

    return {name: tree_map(axes, value) for name, value in named.items()}
