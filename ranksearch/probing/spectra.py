"""Singular values of kernels across their cuts, and derived quantities: entropy, effective rank, ranks for a norm.

The entanglement entropy across a cut is −Σ p log p of the normalised squared singular values p (arXiv:2403.14379);
its exponential is the effective rank, the number of equal singular values with the same entropy (Roy & Vetterli
2007, who normalise the values themselves). Norm kept is ‖Ŵ‖ / ‖W‖ in the Frobenius norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Literal

import torch
from torch import Tensor

from ranksearch.calibration import Moments, whiten
from ranksearch.decompositions import gram, spectrum
from ranksearch.networks import Layer
from ranksearch.probing.cuts import Cut, cuts_of
from ranksearch.progress import Ticks, no_ticks

Coordinates = Literal["plain", "moments", "moments, approximate"]
"""The kernel itself; G^½ W A^½, whose squared singular values beyond a rank are twice the ε of truncation there; the
mode-whitened kernel, as if A were A_i ⊗ A_h ⊗ A_w."""


@dataclass(frozen=True)
class CutSpectrum:
    """Singular values of one layer's kernel across one cut, in descending order, all of them."""

    layer: str
    cut: Cut
    coordinates: Coordinates
    values: tuple[float, ...]

    @property
    def full_rank(self) -> int:
        return len(self.values)

    @property
    def probabilities(self) -> Tensor:
        """The normalised squared spectrum, (full_rank,), float64; all zeros for a kernel of zeros."""
        squares = torch.tensor(self.values, dtype=torch.float64).square()
        total = squares.sum()
        return squares / total if total > 0 else squares

    @property
    def entropy(self) -> float:
        """In nats, between 0 (a product) and log(full_rank)."""
        return float(-torch.special.xlogy(self.probabilities, self.probabilities).sum()) + 0.0

    @property
    def effective_rank(self) -> float:
        return exp(self.entropy)

    @property
    def norms(self) -> Tensor:
        """Norm kept at the bond dimensions 1, 2, …: (full_rank,), float64, ascending to 1."""
        return self.probabilities.cumsum(0).sqrt()

    def norm_kept(self, bond: int) -> float:
        return float(self.norms[bond - 1])

    def rank_for(self, norm: float) -> int:
        """The smallest bond dimension that keeps at least this part of the norm."""
        enough = (self.norms >= norm - 1e-9).nonzero()
        return int(enough[0]) + 1 if len(enough) else self.full_rank


@dataclass(frozen=True)
class Basis:
    """The singular vectors of a kernel across one cut, on the smaller side: (side, side), in descending order."""

    cut: Cut
    vectors: Tensor
    rows: bool
    """Whether they belong to the rows or the columns of the cut's matrix."""

    def truncate(self, kernel: Tensor, bond: int) -> Tensor:
        """The nearest kernel of that bond dimension, in the same shape and dtype: its projection on `bond` vectors.

        At the full bond dimension it is the kernel itself.
        """
        if bond >= self.vectors.shape[1]:
            return kernel.clone()
        kept = self.vectors[:, :bond]
        matrix = self.cut.matrix(kernel).to(kept.dtype)
        projected = kept @ (kept.T @ matrix) if self.rows else (matrix @ kept) @ kept.T
        return self.cut.kernel(projected, kernel.shape).to(kernel.dtype)


@dataclass(frozen=True)
class LayerSpectra:
    """The plain spectra of one layer, with the singular vectors that truncation needs, cut by cut."""

    layer: Layer
    spectra: tuple[CutSpectrum, ...]
    bases: tuple[Basis, ...]


def singular_values(matrix: Tensor) -> Tensor:
    """Singular values of (m, n) in descending order, (min(m, n),), float64, from the smaller Gram matrix.

    Values below 1e-8 of the largest are noise, far below the relevant ones of a trained kernel.
    """
    return spectrum(matrix).energies.sqrt()


def singular_vectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values as above, and the singular vectors (side, side) of the smaller side."""
    values, vectors = torch.linalg.eigh(gram(matrix))
    return values.flip(0).clamp_min(0).sqrt(), vectors.flip(1)


def layer_spectra(layer: Layer, kernel: Tensor, cuts: Sequence[Cut] | None = None) -> LayerSpectra:
    """Spectra and bases of a kernel (O, I, *kernel_size) across all or some of its cuts; one eigenproblem each."""
    spectra, bases = [], []
    for cut in cuts_of(kernel.shape) if cuts is None else cuts:
        matrix = cut.matrix(kernel)
        values, vectors = singular_vectors(matrix)
        spectra.append(CutSpectrum(layer.name, cut, "plain", tuple(values.tolist())))
        # Single precision is enough for a model in single precision, and wide layers have many cuts.
        bases.append(Basis(cut, vectors.float(), rows=matrix.shape[0] <= matrix.shape[1]))
    return LayerSpectra(layer, tuple(spectra), tuple(bases))


def moments_spectra(layer: Layer, kernel: Tensor, moments: Moments) -> tuple[CutSpectrum, ...]:
    """Spectra in the moments' metric: exact across o|ihw, elsewhere of the mode-whitened kernel."""
    whitened = whiten(kernel, *moments.shrunk())
    found = []
    for cut in cuts_of(kernel.shape):
        exact = cut.left == (0,)
        matrix = whitened.root.weigh(whitened.kernel.flatten(1)) if exact else cut.matrix(whitened.kernel)
        coordinates: Coordinates = "moments" if exact else "moments, approximate"
        found.append(CutSpectrum(layer.name, cut, coordinates, tuple(singular_values(matrix).tolist())))
    return tuple(found)


def plain_spectra(
    layers: Sequence[Layer],
    kernels: Mapping[str, Tensor],
    progress: Ticks = no_ticks,
) -> dict[str, LayerSpectra]:
    """Spectra and bases of some layers, by name."""
    found: dict[str, LayerSpectra] = {}
    for done, layer in enumerate(layers):
        progress(done, len(layers))
        found[layer.name] = layer_spectra(layer, kernels[layer.name])
    progress(len(layers), len(layers))
    return found
