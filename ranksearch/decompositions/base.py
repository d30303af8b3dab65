"""What every decomposition has in common: a layer becomes a chain of smaller convolutions.

A decomposition only says which chain, and how to start. Cost, reconstruction, refinement and the module that
is built all follow from the chain.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ranksearch.costs import Cost
from ranksearch.layers import Layer, Size

if TYPE_CHECKING:
    from ranksearch.metric import Whitened

Ranks = tuple[int, ...]
Factors = tuple[Tensor, ...]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Factor:
    """One convolution of a chain: it convolves over the spatial `axes` of the kernel and is 1 wide elsewhere.

    Its weight has the shape (out_channels, in_channels, *kernel_size[axes]), or, where it is depthwise,
    (out_channels, *kernel_size[axes]) with as many channels out as in.
    """

    in_channels: int
    out_channels: int
    axes: tuple[int, ...] = ()
    depthwise: bool = False

    def shape(self, kernel_size: Size) -> Size:
        taps = tuple(kernel_size[axis] for axis in self.axes)
        return (self.out_channels, *taps) if self.depthwise else (self.out_channels, self.in_channels, *taps)


Chain = tuple[Factor, ...]


def chain_cost(layer: Layer, chain: Chain) -> Cost:
    """Cost of a layer carried out as a chain; a factor before a strided one runs at the input's resolution."""
    params = sum(prod(f.shape(layer.kernel_size)) for f in chain) + layer.bias * layer.out_channels
    macs = 0
    for call in layer.calls:
        size = list(call.in_size)
        for factor in chain:
            for axis in factor.axes:
                size[axis] = call.out_size[axis]
            macs += prod(size) * prod(factor.shape(layer.kernel_size))
    return Cost(params, 2 * macs)


def reconstruct(chain: Chain, factors: Sequence[Tensor], kernel_size: Size) -> Tensor:
    """The kernel (O, I, *kernel_size) that a chain with these weights stands for."""
    spatial = _LETTERS[: len(kernel_size)]
    channel = len(kernel_size)
    used = set()
    terms = []
    for factor in chain:
        taps = "".join(spatial[axis] for axis in factor.axes)
        used.update(factor.axes)
        if factor.depthwise:
            terms.append(_LETTERS[channel] + taps)
        else:
            terms.append(_LETTERS[channel + 1] + _LETTERS[channel] + taps)
            channel += 1
    first = _LETTERS[len(kernel_size)]
    touched = "".join(spatial[axis] for axis in sorted(used))
    kernel = torch.einsum(f"{','.join(terms)}->{_LETTERS[channel]}{first}{touched}", *factors)
    return kernel.reshape(kernel.shape[0], kernel.shape[1], *kernel_size)


class Decomposition(ABC):
    """One way to write a kernel as a chain. Stateless; one instance is registered under its name."""

    name: str
    closed_form: bool = False
    """Whether `init` is already the minimum of ε and `cuts` gives ε exactly: nothing is refined."""

    @abstractmethod
    def forms(self, layer: Layer) -> tuple[str, ...]:
        """Names of the shapes it offers for a layer: ("",) where there is just one, () where it does not apply."""

    @abstractmethod
    def max_ranks(self, layer: Layer, form: str) -> Ranks:
        """The ranks at which every kernel of this shape is reproduced exactly."""

    @abstractmethod
    def chain(self, layer: Layer, form: str, ranks: Ranks) -> Chain:
        """The convolutions, from input to output; together they cover every spatial axis once.

        The first and the last one are dense; the last one carries the bias.
        """

    @abstractmethod
    def init(self, whitened: Whitened, form: str, ranks: Ranks) -> Factors:
        """Weights to start from, in the order and shapes of the chain, in whitened coordinates.

        `whitened.kernel` (O, I, *kernel_size) is the kernel in coordinates where the plain norm is close to the
        moments' metric: a plain decomposition of it will do.
        """

    def cuts(self, whitened: Whitened, form: str) -> tuple[Tensor, ...]:
        """One matrix for each rank: its squared singular values beyond that rank estimate twice the ε they cost.

        Needed where there are several ranks, to tell which of them to raise first; () where there is no estimate.
        """
        return ()


def truncated_svd(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best rank-R approximation of (m, n) as (m, R) @ (R, n), the singular values shared equally."""
    u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    return u[:, :rank] * root, root[:, None] * vh[:rank]
