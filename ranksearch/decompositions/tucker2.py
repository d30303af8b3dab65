"""`tucker2`: the cuts i|ohw and o|ihw together. Pointwise, a narrow core, pointwise."""

from __future__ import annotations

from math import prod

import tensorly as tl
from tensorly.decomposition import partial_tucker

from ranksearch.calibration import Whitened
from ranksearch.decompositions.base import Decomposition, Ranks
from ranksearch.decompositions.spectral import LARGE, Spectrum, spectrum, svd
from ranksearch.networks import Chain, Factor, Factors, Layer


class Tucker2(Decomposition):
    """Ranks (R1, R2): 1×1 from I to R1, kh×kw from R1 to R2, 1×1 from R2 to O (Kim et al. 2016)."""

    name = "tucker2"

    def forms(self, layer: Layer) -> tuple[str, ...]:
        return ("",) if prod(layer.kernel_size) > 1 else ()

    def max_ranks(self, layer: Layer, form: str) -> Ranks:
        i, o, taps = layer.in_channels, layer.out_channels, prod(layer.kernel_size)
        return min(i, o * taps), min(o, i * taps)

    def chain(self, layer: Layer, form: str, ranks: Ranks) -> Chain:
        r1, r2 = ranks
        return (
            Factor(layer.in_channels, r1),
            Factor(r1, r2, tuple(range(layer.spatial_dims))),
            Factor(r2, layer.out_channels),
        )

    def spectra(self, whitened: Whitened, form: str) -> tuple[Spectrum, ...]:
        kernel = whitened.kernel
        return spectrum(kernel.movedim(1, 0).flatten(1)), spectrum(kernel.flatten(1))

    def init(self, whitened: Whitened, form: str, ranks: Ranks) -> Factors:
        r1, r2 = ranks
        with tl.backend_context("pytorch", local_threadsafe=True):
            (core, (left, right)), _ = partial_tucker(
                whitened.kernel,
                rank=[r2, r1],
                modes=[0, 1],
                n_iter_max=3 if whitened.kernel.numel() <= LARGE else 1,
                init="svd",
                tol=0,
                svd=svd,
            )
        return right.T, core, left
