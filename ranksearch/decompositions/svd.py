"""`svd`: the cut o|ihw. A narrow copy of the layer, then a pointwise layer back to its width."""

from __future__ import annotations

from ranksearch.calibration import Whitened
from ranksearch.decompositions.base import Decomposition, Ranks
from ranksearch.decompositions.spectral import Spectrum
from ranksearch.networks import Chain, Factor, Factors, Layer


class SVD(Decomposition):
    """Rank R: kernel kh×kw from I to R channels, then 1×1 from R to O.

    In the moments' metric it needs no iterations: the truncated SVD of G^½ W A^½ (Eckart & Young 1936; with
    G = I this is the activation-aware SVD of BALF, arXiv:2509.25136).
    """

    name = "svd"
    closed_form = True

    def forms(self, layer: Layer) -> tuple[str, ...]:
        return ("",)

    def max_ranks(self, layer: Layer, form: str) -> Ranks:
        return (min(layer.out_channels, layer.fan_in),)

    def chain(self, layer: Layer, form: str, ranks: Ranks) -> Chain:
        (r,) = ranks
        return (
            Factor(layer.in_channels, r, tuple(range(layer.spatial_dims))),
            Factor(r, layer.out_channels),
        )

    def init(self, whitened: Whitened, form: str, ranks: Ranks) -> Factors:
        left = whitened.output_basis[:, : ranks[0]]
        return (left.T @ whitened.kernel.flatten(1)).reshape(-1, *whitened.kernel.shape[1:]), left

    def spectra(self, whitened: Whitened, form: str) -> tuple[Spectrum, ...]:
        shape = (len(whitened.kernel), whitened.root.length)
        return (Spectrum(whitened.output_energies, shape),)
