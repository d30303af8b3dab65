"""Plain layers with the geometry of others, and parameters with the values of others."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def parameter(value: Tensor, *, trained: bool) -> nn.Parameter:
    """A parameter that holds a copy of some values."""
    return nn.Parameter(value.detach().clone(), requires_grad=trained)


def plain_layer(kind: type[nn.Module], like: Any, weight: Tensor) -> nn.Module:
    """A layer of this kind, with the geometry and the bias of another, and a copy of this weight.

    kind: `nn.Linear` or a convolution. weight: An (O, I / groups, *kernel_size) tensor.
    """
    bias: Tensor | None = getattr(like, "bias", None)
    made: dict[str, Any] = {"bias": bias is not None, "device": "meta"}
    plain: nn.Module
    if kind is nn.Linear:
        plain = kind(weight.shape[1], weight.shape[0], **made)
    else:
        names = ("stride", "padding", "dilation", "groups", "padding_mode")
        geometry = {name: getattr(like, name) for name in names}
        plain = kind(like.in_channels, like.out_channels, tuple(weight.shape[2:]), **geometry, **made)
    trained = any(own.requires_grad for own in like.parameters())
    plain.weight = parameter(weight, trained=trained)
    if bias is not None:
        plain.bias = parameter(bias, trained=trained)
    return plain
