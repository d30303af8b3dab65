"""The axes of inputs that may have another size in each call."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn
from torch.export import Dim

from ranksearch.networks import Batch, arguments, marked


def batch_axes(model: nn.Module, example: Batch) -> dict[str, Any]:
    """By parameter of the model's `forward`, which axes vary, as torch.export wants it: the first, alike in all."""
    args, kwargs = arguments(example)
    named = inspect.signature(model.forward).bind(*args, **kwargs).arguments
    return {name: marked(value, {0: Dim("batch")}) for name, value in named.items()}
