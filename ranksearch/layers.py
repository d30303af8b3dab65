"""The layers of a model: what they are, what they cost, and which of them can be factorised."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

from ranksearch.costs import Cost

Kind = Literal["linear", "conv1d", "conv2d", "conv3d"]
Size = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One use of a layer in the forward pass of one example: sizes without batch and channels.

    For a Linear both sizes are its leading positions: () for (N, I) inputs, (T,) for (N, T, I).
    """

    in_size: Size
    out_size: Size


@dataclass(frozen=True)
class Layer:
    """Geometry of a `Conv1d/2d/3d` or `Linear`; its kernel has the shape (O, I / groups, *kernel_size)."""

    name: str
    kind: Kind
    in_channels: int
    out_channels: int
    kernel_size: Size
    stride: Size
    padding: Size | Literal["same"]
    dilation: Size
    padding_mode: str
    groups: int
    bias: bool
    calls: tuple[Call, ...]
    reason: str | None = None
    """Why the layer has to stay dense; None where it can be factorised."""

    @property
    def spatial_dims(self) -> int:
        return len(self.kernel_size)

    @property
    def fan_in(self) -> int:
        """Entries of one row of the kernel as an O × (I·kh·kw) matrix."""
        return self.in_channels // self.groups * prod(self.kernel_size)

    @property
    def cost(self) -> Cost:
        """Cost of the dense layer, bias included in the parameters."""
        macs = sum(prod(call.out_size) for call in self.calls) * self.out_channels * self.fan_in
        return Cost(self.out_channels * (self.fan_in + self.bias), 2 * macs)
