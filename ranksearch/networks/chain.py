"""A chain: the smaller convolutions that take the place of a layer, from input to output.

Cost, reconstruction, refinement and the module that is built all follow from the chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ranksearch.networks.layers import Size

Factors = tuple[Tensor, ...]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Factor:
    """One convolution of a chain: it convolves over the spatial `axes` of the kernel and is 1 wide elsewhere.

    Its weight has the shape (out_channels, in_channels / groups / blocks, *kernel_size[axes]), or, if it is depthwise,
    (out_channels, *kernel_size[axes]) with equally many input and output channels. `groups` is that of the layer, in
    all factors of a chain. `blocks`: of how many further groups the first factor is, within each of the layer's.
    """

    in_channels: int
    out_channels: int
    axes: tuple[int, ...] = ()
    depthwise: bool = False
    groups: int = field(default=1, repr=False)
    blocks: int = 1

    def __repr__(self) -> str:
        """Without what only some factors have: measurements that are kept by it stay valid."""
        stated = {name: value for name, value in vars(self).items() if name not in ("groups", "blocks")}
        stated |= {"blocks": self.blocks} if self.blocks > 1 else {}
        return f"Factor({', '.join(f'{name}={value!r}' for name, value in stated.items())})"

    def shape(self, kernel_size: Size) -> Size:
        taps = tuple(kernel_size[axis] for axis in self.axes)
        inputs = () if self.depthwise else (self.in_channels // self.groups // self.blocks,)
        return (self.out_channels, *inputs, *taps)


Chain = tuple[Factor, ...]


def widened(chain: Chain, groups: int) -> Chain:
    """A chain for each of so many groups of channels, side by side in one."""
    return tuple(
        replace(
            factor,
            in_channels=groups * factor.in_channels,
            out_channels=groups * factor.out_channels,
            groups=groups,
        )
        for factor in chain
    )


def narrowed(chain: Chain) -> Chain:
    """The chain of one group of a widened one, whose factors consist of as many parts, one after the other."""
    return tuple(
        replace(
            factor,
            in_channels=factor.in_channels // factor.groups,
            out_channels=factor.out_channels // factor.groups,
            groups=1,
        )
        for factor in chain
    )


def by_group(chain: Chain, factors: Sequence[Tensor]) -> list[Factors]:
    """The factors of each group of a chain."""
    return list(zip(*(factor.chunk(chain[0].groups) for factor in factors), strict=True))


def joined(factors: Sequence[Factors]) -> Factors:
    """The factors of a chain from those of each of its groups."""
    return tuple(torch.cat(parts) for parts in zip(*factors, strict=True))


def reconstruct(chain: Chain, factors: Sequence[Tensor], kernel_size: Size) -> Tensor:
    """The kernel that a chain with these weights represents.

    factors: One tensor for each factor of the chain, of its `shape`.
    returns: An (O, I / groups, *kernel_size) tensor.
    """
    kernel = contract(chain, factors)
    return kernel.reshape(kernel.shape[0], kernel.shape[1], *kernel_size)


def contract(chain: Chain, factors: Sequence[Tensor]) -> Tensor:
    """The kernel of a chain that need not cover all axes.

    factors: One tensor for each factor of the chain, of its `shape`.
    returns: An (O, I / groups, *taps) tensor; the taps are those of the axes that the chain covers, in ascending order.
    """
    if chain[0].groups > 1:
        own = narrowed(chain)
        return torch.cat([contract(own, each) for each in by_group(chain, factors)])
    axes = sorted(axis for factor in chain for axis in factor.axes)
    spatial = dict(zip(axes, _LETTERS, strict=False))
    channel = len(axes)
    first = _LETTERS[channel]
    terms = []
    factors = [_connected(factor, weight) for factor, weight in zip(chain, factors, strict=True)]
    for factor in chain:
        taps = "".join(spatial[axis] for axis in factor.axes)
        if factor.depthwise:
            terms.append(_LETTERS[channel] + taps)
        else:
            terms.append(_LETTERS[channel + 1] + _LETTERS[channel] + taps)
            channel += 1
    touched = "".join(spatial.values())
    return torch.einsum(f"{','.join(terms)}->{_LETTERS[channel]}{first}{touched}", *factors)


def _connected(factor: Factor, weight: Tensor) -> Tensor:
    """The weight of a factor of blocks as that of one where all inputs and outputs are connected, by zeros."""
    if factor.blocks == 1:
        return weight
    parts = weight.unflatten(0, (factor.blocks, -1)).unsqueeze(
        2
    )  # (blocks, R / blocks, 1, I / blocks, *taps)
    own = torch.eye(factor.blocks, dtype=weight.dtype, device=weight.device)
    own = own.reshape(factor.blocks, 1, factor.blocks, *(1 for _ in range(weight.dim() - 1)))
    apart: Tensor = (parts * own).flatten(0, 1)
    return apart.flatten(1, 2)
