"""`grouped_svd`: the cut o|ihw of each of several groups of inputs. A grouped, narrow copy, then a pointwise layer."""

from __future__ import annotations

from math import prod

import torch

from ranksearch.calibration import Whitened
from ranksearch.decompositions.base import Decomposition, Ranks
from ranksearch.decompositions.spectral import Spectrum, spectrum, truncated_svd
from ranksearch.networks import Chain, Factor, Factors, Layer

GROUPS = (2, 4, 8)


class GroupedSVD(Decomposition):
    """Rank R for each of k groups of input channels: kernel kh×kw from I to k·R channels in k groups, then 1×1 to O.

    The decomposition of ALDS (Liebenwein et al. 2021, arXiv:2107.11442, section 3.1), whose form is k. With one group
    it is `svd`; more of them save parameters of the first factor, and lose what inputs of several groups share.
    """

    name = "grouped_svd"

    def forms(self, layer: Layer) -> tuple[str, ...]:
        if not layer.spatial_dims:
            return ()  # PyTorch has no grouped linear layer
        fits = (k for k in GROUPS if layer.in_channels % k == 0 and layer.in_channels > k)
        return tuple(map(str, fits))

    def max_ranks(self, layer: Layer, form: str) -> Ranks:
        return (min(layer.out_channels, layer.fan_in // int(form)),)

    def chain(self, layer: Layer, form: str, ranks: Ranks) -> Chain:
        wide = int(form) * ranks[0]
        return (
            Factor(layer.in_channels, wide, tuple(range(layer.spatial_dims)), blocks=int(form)),
            Factor(wide, layer.out_channels),
        )

    def init(self, whitened: Whitened, form: str, ranks: Ranks) -> Factors:
        kernel = whitened.in_blocks(int(form)).kernel
        i, *taps = kernel.shape[1:]
        cut = [truncated_svd(part.flatten(1), ranks[0]) for part in kernel.chunk(int(form), dim=1)]
        first = torch.cat([right for _, right in cut]).reshape(-1, i // int(form), *taps)
        return first, torch.cat([left for left, _ in cut], dim=1)

    def spectra(self, whitened: Whitened, form: str) -> tuple[Spectrum, ...]:
        kernel = whitened.in_blocks(int(form)).kernel
        each = [spectrum(part.flatten(1)).energies for part in kernel.chunk(int(form), dim=1)]
        return (Spectrum(torch.stack(each).sum(0), (len(kernel), prod(kernel.shape[1:]) // int(form))),)
