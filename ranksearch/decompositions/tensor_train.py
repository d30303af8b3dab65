"""`tensor_train`: a chain of cuts from input to output, one convolution per index of the kernel."""

from __future__ import annotations

from math import prod

import tensorly as tl
import torch
from tensorly.decomposition import tensor_train
from torch import Tensor

from ranksearch.calibration import Whitened
from ranksearch.decompositions.base import Decomposition, Ranks
from ranksearch.decompositions.spectral import Spectrum, spectrum, svd
from ranksearch.networks import Chain, Factor, Factors, Layer


class TensorTrain(Decomposition):
    """Ranks (R1, …): 1×1 from I to R1, one convolution per spatial axis, 1×1 to O.

    Oseledets 2011; for convolutions Garipov et al. 2016.

    Only orders that start at i and end at o become plain convolutions at the train's own cost; the spatial
    axes in between come in ascending or in descending order. With a single wide axis it is `tucker2`.
    """

    name = "tensor_train"

    def forms(self, layer: Layer) -> tuple[str, ...]:
        return ("ascending", "descending") if sum(k > 1 for k in layer.kernel_size) >= 2 else ()

    def max_ranks(self, layer: Layer, form: str) -> Ranks:
        axes = _order(layer.spatial_dims, form)
        sizes = [layer.in_channels, *(layer.kernel_size[axis] for axis in axes), layer.out_channels]
        return tuple(min(prod(sizes[:cut]), prod(sizes[cut:])) for cut in range(1, len(sizes)))

    def chain(self, layer: Layer, form: str, ranks: Ranks) -> Chain:
        axes = _order(layer.spatial_dims, form)
        return (
            Factor(layer.in_channels, ranks[0]),
            *(Factor(ranks[k], ranks[k + 1], (axis,)) for k, axis in enumerate(axes)),
            Factor(ranks[-1], layer.out_channels),
        )

    def spectra(self, whitened: Whitened, form: str) -> tuple[Spectrum, ...]:
        train = _as_train(whitened.kernel, form)
        return tuple(spectrum(train.reshape(prod(train.shape[:cut]), -1)) for cut in range(1, train.dim()))

    def init(self, whitened: Whitened, form: str, ranks: Ranks) -> Factors:
        with tl.backend_context("pytorch", local_threadsafe=True):
            train = _as_train(whitened.kernel, form)
            cores = tensor_train(train, rank=[1, *ranks, 1], svd=svd).factors
        bonds = (1, *ranks, 1)
        first, *middle, last = (_widen(core, bonds[k], bonds[k + 1]) for k, core in enumerate(cores))
        return first[0].T, *(core.permute(2, 0, 1) for core in middle), last[..., 0].T


def _order(spatial_dims: int, form: str) -> tuple[int, ...]:
    axes = tuple(range(spatial_dims))
    return axes if form == "ascending" else axes[::-1]


def _as_train(kernel: Tensor, form: str) -> Tensor:
    """The kernel with its indices in the train's order: (I, spatial axes, O)."""
    return kernel.permute(1, *(2 + axis for axis in _order(kernel.dim() - 2, form)), 0)


def _widen(core: Tensor, left: int, right: int) -> Tensor:
    """A core (l, size, r) padded with zeros: tensorly cuts ranks down to what the unfoldings allow."""
    return torch.nn.functional.pad(core, (0, right - core.shape[2], 0, 0, 0, left - core.shape[0]))
