"""`spatial_svd`: the cut ih|ow. A vertical convolution, then a horizontal one."""

from __future__ import annotations

from math import prod

from torch import Tensor

from ranksearch.calibration import Whitened
from ranksearch.decompositions.base import Decomposition, Ranks
from ranksearch.decompositions.spectral import Spectrum, spectrum, truncated_svd
from ranksearch.networks import Chain, Factor, Factors, Layer


class SpatialSVD(Decomposition):
    """Rank R: kh×1 from I to R channels, then 1×kw from R to O (Jaderberg et al. 2014, scheme 2).

    A Conv3d is cut into its first axis and the other two. It applies where both sides of the cut have a
    kernel wider than one tap; elsewhere it would be `svd` again.
    """

    name = "spatial_svd"

    def forms(self, layer: Layer) -> tuple[str, ...]:
        if layer.spatial_dims < 2 or layer.kernel_size[0] == 1 or prod(layer.kernel_size[1:]) == 1:
            return ()
        return ("",)

    def max_ranks(self, layer: Layer, form: str) -> Ranks:
        first, rest = layer.kernel_size[0], prod(layer.kernel_size[1:])
        return (min(layer.in_channels * first, layer.out_channels * rest),)

    def chain(self, layer: Layer, form: str, ranks: Ranks) -> Chain:
        (r,) = ranks
        return (
            Factor(layer.in_channels, r, (0,)),
            Factor(r, layer.out_channels, tuple(range(1, layer.spatial_dims))),
        )

    def init(self, whitened: Whitened, form: str, ranks: Ranks) -> Factors:
        o, i, first, *rest = whitened.kernel.shape
        left, right = truncated_svd(_cut(whitened.kernel), ranks[0])
        return (
            right.reshape(ranks[0], i, first),
            left.reshape(o, prod(rest), ranks[0]).movedim(1, 2).reshape(o, ranks[0], *rest),
        )

    def spectra(self, whitened: Whitened, form: str) -> tuple[Spectrum, ...]:
        return (spectrum(_cut(whitened.kernel)),)


def _cut(kernel: Tensor) -> Tensor:
    """The kernel as an (O·kw) × (I·kh) matrix."""
    o, i, first, *rest = kernel.shape
    return kernel.reshape(o, i * first, prod(rest)).movedim(1, 2).reshape(o * prod(rest), i * first)
