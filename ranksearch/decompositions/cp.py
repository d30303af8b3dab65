"""`cp`: a sum of rank-one kernels. Pointwise, depthwise, pointwise."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import product
from math import prod

import tensorly as tl
import torch
from tensorly.decomposition import parafac
from torch import Tensor

from ranksearch.calibration import Whitened
from ranksearch.decompositions.base import Decomposition, Ranks
from ranksearch.decompositions.spectral import LARGE, svd
from ranksearch.networks import Chain, Factor, Factors, Layer

JOINT, AXES = "joint", "axes"

_SWEEPS = 10


class CP(Decomposition):
    """Rank R, in two shapes.

    `joint`, over (o, i, hw): 1×1 from I to R, depthwise kh×kw, 1×1 from R to O (Phan et al. 2020).
    `axes`, over (o, i, h, w): the depthwise part is split into one convolution per axis (Lebedev et al. 2015).
    """

    name = "cp"

    def forms(self, layer: Layer) -> tuple[str, ...]:
        wide = sum(k > 1 for k in layer.kernel_size)
        return () if wide == 0 else (JOINT,) if wide == 1 else (JOINT, AXES)

    def max_ranks(self, layer: Layer, form: str) -> Ranks:
        modes = _modes(layer.out_channels, layer.in_channels, layer.kernel_size, form)
        return (prod(modes) // max(modes),)

    def chain(self, layer: Layer, form: str, ranks: Ranks) -> Chain:
        (r,) = ranks
        axes = tuple(range(layer.spatial_dims))
        groups = (axes,) if form == JOINT else tuple((axis,) for axis in axes)
        return (
            Factor(layer.in_channels, r),
            *(Factor(r, r, group, depthwise=True) for group in groups),
            Factor(r, layer.out_channels),
        )

    def init(self, whitened: Whitened, form: str, ranks: Ranks) -> Factors:
        o, i, *taps = whitened.kernel.shape
        modes = _modes(o, i, tuple(taps), form)
        tensor = whitened.kernel.reshape(modes)
        (r,) = ranks
        if r == prod(modes) // max(modes):
            left, right, *depth = unit_vectors(tensor)
        else:
            fitted = _als(tensor, r) if tensor.numel() <= LARGE else None
            if fitted is None:
                bases = whitened.known((CP, form), lambda: mode_bases(tensor))
                fitted = principal_fibres(tensor, r, bases)
            left, right, *depth = fitted
        shapes = [taps] if form == JOINT else [[k] for k in taps]
        return right.T, *(d.T.reshape(r, *shape) for d, shape in zip(depth, shapes, strict=True)), left


def _modes(o: int, i: int, taps: tuple[int, ...], form: str) -> tuple[int, ...]:
    return (o, i, prod(taps)) if form == JOINT else (o, i, *taps)


def _als(tensor: Tensor, rank: int) -> list[Tensor] | None:
    """A few sweeps of alternating least squares; single precision is enough, as refinement follows.

    None if their normal equations are singular, as for kernels of lower rank.
    """
    with warnings.catch_warnings(), tl.backend_context("pytorch", local_threadsafe=True):
        warnings.simplefilter("ignore")
        try:
            _, factors = parafac(
                tensor.float(),
                rank,
                n_iter_max=_SWEEPS,
                init="svd",
                svd=svd,
                tol=1e-6,
                random_state=0,
            )
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            return None
    sound = all(bool(torch.isfinite(factor).all()) for factor in factors)
    return list(factors) if sound else None


def mode_bases(tensor: Tensor) -> list[Tensor]:
    """The left singular vectors (size, size) of the unfoldings along all modes but the first, by falling value."""
    unfoldings = [tensor.movedim(mode, 0).flatten(1) for mode in range(1, tensor.dim())]
    return [torch.linalg.eigh(unfolding @ unfolding.T)[1].flip(1) for unfolding in unfoldings]


def principal_fibres(tensor: Tensor, rank: int, bases: Sequence[Tensor]) -> list[Tensor]:
    """Initial factors (size of mode, R) for large kernels, from the R strongest fibres of the Tucker core.

    The core of the higher-order SVD (De Lathauwer et al. 2000) in all modes but the first, whose `mode_bases` are
    given, is concentrated in few fibres along the first mode, and each of them gives one component. After refinement
    this is nearly as good as alternating least squares, whose sweeps take longer for large kernels.
    """
    core = tensor
    for mode, basis in enumerate(bases, start=1):
        core = torch.tensordot(core, basis, dims=([mode], [0])).movedim(-1, mode)
    energies = core.square().sum(dim=0)
    strongest = energies.flatten().topk(min(rank, energies.numel())).indices
    places = torch.unravel_index(strongest, energies.shape)
    factors = [core.flatten(1)[:, strongest]]
    factors += [basis[:, place] for basis, place in zip(bases, places, strict=True)]
    return [torch.nn.functional.pad(factor, (0, rank - len(strongest))) for factor in factors]


def unit_vectors(tensor: Tensor) -> list[Tensor]:
    """An exact CP, one component per fibre along the widest mode: factors (size of mode, R) for each mode."""
    widest = max(range(tensor.dim()), key=lambda mode: tensor.shape[mode])
    others = [mode for mode in range(tensor.dim()) if mode != widest]
    cells = list(product(*(range(tensor.shape[mode]) for mode in others)))
    index = torch.tensor(cells, device=tensor.device)  # (R, modes − 1)
    factors = [torch.empty(0)] * tensor.dim()
    for column, mode in enumerate(others):
        factors[mode] = torch.eye(tensor.shape[mode], dtype=tensor.dtype, device=tensor.device)[
            :, index[:, column]
        ]
    factors[widest] = tensor.movedim(widest, 0).flatten(1)
    return factors
