"""A chain: the smaller convolutions that take the place of a layer, from input to output.

Cost, reconstruction, refinement and the module that is built all follow from the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ranksearch.networks.layers import Size

Factors = tuple[Tensor, ...]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Factor:
    """One convolution of a chain: it convolves over the spatial `axes` of the kernel and is 1 wide elsewhere.

    Its weight has the shape (out_channels, in_channels, *kernel_size[axes]), or, if it is depthwise,
    (out_channels, *kernel_size[axes]) with equally many input and output channels.
    """

    in_channels: int
    out_channels: int
    axes: tuple[int, ...] = ()
    depthwise: bool = False

    def shape(self, kernel_size: Size) -> Size:
        taps = tuple(kernel_size[axis] for axis in self.axes)
        return (self.out_channels, *taps) if self.depthwise else (self.out_channels, self.in_channels, *taps)


Chain = tuple[Factor, ...]


def reconstruct(chain: Chain, factors: Sequence[Tensor], kernel_size: Size) -> Tensor:
    """The kernel that a chain with these weights represents.

    factors: One tensor for each factor of the chain, of its `shape`.
    returns: An (O, I, *kernel_size) tensor.
    """
    kernel = contract(chain, factors)
    return kernel.reshape(kernel.shape[0], kernel.shape[1], *kernel_size)


def contract(chain: Chain, factors: Sequence[Tensor]) -> Tensor:
    """The kernel of a chain that need not cover all axes.

    factors: One tensor for each factor of the chain, of its `shape`.
    returns: An (O, I, *taps) tensor; the taps are those of the axes that the chain covers, in ascending order.
    """
    axes = sorted(axis for factor in chain for axis in factor.axes)
    spatial = dict(zip(axes, _LETTERS, strict=False))
    channel = len(axes)
    first = _LETTERS[channel]
    terms = []
    for factor in chain:
        taps = "".join(spatial[axis] for axis in factor.axes)
        if factor.depthwise:
            terms.append(_LETTERS[channel] + taps)
        else:
            terms.append(_LETTERS[channel + 1] + _LETTERS[channel] + taps)
            channel += 1
    touched = "".join(spatial.values())
    return torch.einsum(f"{','.join(terms)}->{_LETTERS[channel]}{first}{touched}", *factors)
