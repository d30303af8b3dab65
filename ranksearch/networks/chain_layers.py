"""A chain as a module: plain layers, of the kind of the layer that they replace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from ranksearch.networks.chain import Chain, Factor
from ranksearch.networks.kinds import KINDS, Kind
from ranksearch.networks.layers import Layer, Size


def chain_module(layer: Layer, chain: Chain, factors: Sequence[Tensor], bias: Tensor | None) -> nn.Sequential:
    """A chain as plain modules of the layer's kind; that of an Embedding is an Embedding, then linear layers.

    Each factor takes the layer's stride, padding and dilation on the axes that it convolves over. Only the
    last one has the bias: an earlier one's would show in the zero padding of those that follow.

    factors: One tensor for each factor of the chain, of its `shape`.
    bias: An (O,) tensor, or None.

    They become the parameters, without a copy if they already have a parameter's memory layout. Raises ValueError
    for a chain that cannot replace the layer.
    """
    last = len(chain) - 1
    axes = [factor.axes for factor in chain]
    if sorted(sum(axes, ())) != list(range(layer.spatial_dims)) or any(tuple(sorted(a)) != a for a in axes):
        raise ValueError(
            f"{layer.name}: a chain takes each spatial axis once, in ascending order, not {axes}"
        )
    return nn.Sequential(
        *(
            _factor_module(layer, factor_kind(layer, k), factor, weight, bias if k == last else None)
            for k, (factor, weight) in enumerate(zip(chain, factors, strict=True))
        )
    )


@dataclass(frozen=True)
class FactorGeometry:
    """Arguments of the convolution that a factor becomes; without spatial axes all are empty."""

    kernel_size: Size
    stride: Size
    padding: Size | Literal["same"]
    padding_mode: str
    dilation: Size
    groups: int
    output_padding: Size = ()
    """Of a transposed convolution alone."""


def factor_kind(layer: Layer, position: int) -> Kind:
    """What the factor at some position of a layer's chain is."""
    return "linear" if layer.traits.lookup and position else layer.kind


def factor_geometry(layer: Layer, factor: Factor) -> FactorGeometry:
    """A factor has the layer's stride, padding and dilation on the axes that it convolves over."""

    def along(values: Size, elsewhere: int) -> Size:
        return tuple(v if axis in factor.axes else elsewhere for axis, v in enumerate(values))

    padding: Size | Literal["same"]
    if layer.padding == "same":
        padding = "same" if factor.axes else (0,) * layer.spatial_dims
    else:
        padding = along(layer.padding, 0)
    return FactorGeometry(
        kernel_size=along(layer.kernel_size, 1),
        stride=along(layer.stride, 1),
        padding=padding,
        padding_mode=layer.padding_mode if factor.axes else "zeros",
        dilation=along(layer.dilation, 1),
        groups=factor.out_channels if factor.depthwise else factor.groups * factor.blocks,
        output_padding=along(layer.output_padding, 0),
    )


def _factor_module(
    layer: Layer, kind: Kind, factor: Factor, weight: Tensor, bias: Tensor | None
) -> nn.Module:
    options: dict[str, Any] = {"device": "meta"}
    kernel = weight
    if KINDS[kind].lookup:
        options["padding_idx"] = layer.padding_idx
    else:
        options["bias"] = bias is not None
    if KINDS[kind].dims:
        geometry = {
            name: value for name, value in vars(factor_geometry(layer, factor)).items() if value != ()
        }
        options |= geometry
        # Factor.shape leaves out axes of width 1, and the input channels of a depthwise factor
        inputs = factor.in_channels // geometry["groups"]
        kernel = weight.reshape(factor.out_channels, inputs, *geometry["kernel_size"])
    module = KINDS[kind].module(factor.in_channels, factor.out_channels, **options)
    module.weight = nn.Parameter(
        (
            kernel if factor.depthwise else KINDS[kind].kernel(kernel, factor.groups * factor.blocks)
        ).contiguous()
    )
    if bias is not None:
        module.bias = nn.Parameter(bias.detach())
    return module
