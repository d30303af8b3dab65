"""What a convolution sees: its inputs padded, and where the entries of every patch lie in them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
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


def patches_along(sizes: Sequence[int], layer: Layer) -> list[int]:
    """The number of patches along each axis of a padded image of these sizes."""
    geometry = zip(sizes, layer.kernel_size, layer.stride, layer.dilation, strict=True)
    return [(size - dilation * (taps - 1) - 1) // stride + 1 for size, taps, stride, dilation in geometry]


def places_of(sizes: Sequence[int], layer: Layer) -> Tensor:
    """The pixel under every tap of every patch: (patches, taps), indices into an image of these sizes, flattened."""
    places = torch.zeros(1, 1, dtype=torch.long)
    for size, taps, stride, dilation in zip(
        sizes, layer.kernel_size, layer.stride, layer.dilation, strict=True
    ):
        starts = torch.arange(0, size - dilation * (taps - 1), stride)
        along = starts[:, None] + dilation * torch.arange(taps)  # (patches, taps) along this axis
        places = (size * places[:, None, :, None] + along[None, :, None, :]).flatten(2).flatten(0, 1)
    return places
