"""Plain layers with the geometry of others, and parameters with the values of others."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ranksearch.networks import KINDS, LAYER_TYPES


def parameter(value: Tensor, *, trained: bool) -> nn.Parameter:
    """A parameter that holds a copy of some values."""
    return nn.Parameter(value.detach().clone(), requires_grad=trained)


def plain_layer(kind: type[nn.Module], like: Any, weight: Tensor) -> nn.Module:
    """A layer of this kind, with the geometry and the bias of another, and a copy of this weight.

    kind: one of the `KINDS`. weight: An (O, I / groups, *kernel_size) or (I, O / groups, *kernel_size) tensor, as
        PyTorch stores it.
    """
    traits = KINDS[LAYER_TYPES[kind]]
    bias: Tensor | None = getattr(like, "bias", None)
    made: dict[str, Any] = {name: getattr(like, name) for name in traits.arguments} | {"device": "meta"}
    if not traits.lookup:
        made["bias"] = bias is not None
    sizes: tuple[Any, ...]
    if traits.dims:
        sizes = (like.in_channels, like.out_channels, tuple(weight.shape[2:]))
    else:
        sizes = traits.kernel(weight).T.shape
    plain = kind(*sizes, **made)
    trained = any(own.requires_grad for own in like.parameters())
    plain.weight = parameter(weight, trained=trained)
    if bias is not None:
        plain.bias = parameter(bias, trained=trained)
    return plain
