"""What a decomposition has to say: which chain it makes of a layer, and how to start."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ranksearch.chain import Chain, Factor, Factors, chain_cost, reconstruct
from ranksearch.layers import Layer
from ranksearch.metric import Whitened

__all__ = [
    "Chain",
    "Decomposition",
    "Factor",
    "Factors",
    "Ranks",
    "chain_cost",
    "reconstruct",
    "truncated_svd",
]

Ranks = tuple[int, ...]


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
