"""A chain as a module: plain convolutions, or plain linear layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ranksearch.networks.chain import Chain, Factor
from ranksearch.networks.layers import Layer, Size

_CONVS: tuple[Callable[..., nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def chain_module(layer: Layer, chain: Chain, factors: Sequence[Tensor], bias: Tensor | None) -> nn.Sequential:
    """A chain as plain convolutions, or as plain linear layers if the layer is one.

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
            _factor_module(layer, factor, weight, bias if k == last else None)
            for k, (factor, weight) in enumerate(zip(chain, factors, strict=True))
        )
    )


@dataclass(frozen=True)
class FactorGeometry:
    """Arguments of the convolution that a factor becomes; for a linear layer all are empty."""

    kernel_size: Size
    stride: Size
    padding: Size | Literal["same"]
    padding_mode: str
    dilation: Size
    groups: int


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
        groups=factor.out_channels if factor.depthwise else 1,
    )


def _factor_module(layer: Layer, factor: Factor, weight: Tensor, bias: Tensor | None) -> nn.Module:
    module: nn.Module
    if layer.kind == "linear":
        module = nn.Linear(factor.in_channels, factor.out_channels, bias=bias is not None, device="meta")
        kernel = weight
    else:
        geometry = factor_geometry(layer, factor)
        module = _CONVS[layer.spatial_dims - 1](
            factor.in_channels, factor.out_channels, bias=bias is not None, device="meta", **vars(geometry)
        )
        # Factor.shape leaves out axes of width 1, and the input channels of a depthwise factor
        kernel = weight.reshape(
            factor.out_channels, 1 if factor.depthwise else factor.in_channels, *geometry.kernel_size
        )
    module.weight = nn.Parameter(kernel.contiguous())
    if bias is not None:
        module.bias = nn.Parameter(bias.detach())
    return module
