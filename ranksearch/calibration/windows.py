"""What a convolution sees: its inputs padded, and every patch of them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ranksearch.networks import Layer


def padded(inputs: Tensor, layer: Layer) -> Tensor:
    """Inputs (N, I, …) with the layer's own padding around them."""
    if layer.padding == "same":
        totals = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(p, p) for p in layer.padding]
    flat = [amount for side in reversed(sides) for amount in side]
    if not any(flat):
        return inputs
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(inputs, flat, mode=mode)


def windows_of(inputs: Tensor, layer: Layer) -> Tensor:
    """A view (N, I, *positions, *taps) of all patches."""
    windows = inputs
    for axis in range(layer.spatial_dims):
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        windows = windows.unfold(2 + axis, reach, layer.stride[axis])[..., :: layer.dilation[axis]]
    return windows
