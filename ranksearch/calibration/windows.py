"""What a convolution sees: its inputs padded, and where the entries of every patch lie in them.

A transposed convolution sees its inputs with stride − 1 zeros between them, through a kernel whose taps are reversed,
at every position (Dumoulin & Visin 2016, arXiv:1603.07285, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ranksearch.networks import Layer


def padded(inputs: Tensor, layer: Layer) -> Tensor:
    """Inputs (N, I, …) with the layer's own padding around them."""
    if layer.traits.transposed:
        return _spread(inputs, layer)
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


def _spread(inputs: Tensor, layer: Layer) -> Tensor:
    """Inputs (N, I, …) of a transposed convolution with zeros between and around them, or less of them at the edges."""
    sizes = [stride * (size - 1) + 1 for size, stride in zip(inputs.shape[2:], layer.stride, strict=True)]
    spread = inputs.new_zeros(*inputs.shape[:2], *sizes)
    every: tuple[Any, ...] = (..., *(slice(None, None, stride) for stride in layer.stride))
    spread[every] = inputs
    assert not isinstance(layer.padding, str)
    sides = [
        (dilation * (taps - 1) - padding, dilation * (taps - 1) - padding + more)
        for dilation, taps, padding, more in zip(
            layer.dilation, layer.kernel_size, layer.padding, layer.output_padding, strict=True
        )
    ]
    return F.pad(spread, [amount for side in reversed(sides) for amount in side])


def _strides(layer: Layer) -> tuple[int, ...]:
    """From one patch to the next."""
    return (1,) * layer.spatial_dims if layer.traits.transposed else layer.stride


def patches_along(sizes: Sequence[int], layer: Layer) -> list[int]:
    """The number of patches along each axis of a padded image of these sizes."""
    geometry = zip(sizes, layer.kernel_size, _strides(layer), layer.dilation, strict=True)
    return [(size - dilation * (taps - 1) - 1) // stride + 1 for size, taps, stride, dilation in geometry]


def places_of(sizes: Sequence[int], layer: Layer) -> Tensor:
    """The pixel under every tap of every patch: (patches, taps), indices into an image of these sizes, flattened."""
    places = torch.zeros(1, 1, dtype=torch.long)
    for size, taps, stride, dilation in zip(
        sizes, layer.kernel_size, _strides(layer), layer.dilation, strict=True
    ):
        starts = torch.arange(0, size - dilation * (taps - 1), stride)
        order = torch.arange(taps).flip(0) if layer.traits.transposed else torch.arange(taps)
        along = starts[:, None] + dilation * order  # (patches, taps) along this axis
        places = (size * places[:, None, :, None] + along[None, :, None, :]).flatten(2).flatten(0, 1)
    return places
