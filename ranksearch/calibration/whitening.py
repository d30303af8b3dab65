"""The error ε = ½ · tr(G ΔW A ΔWᵀ), and coordinates in which it is nearly the plain squared norm.

With A the second moments of a layer's inputs and G those of its output gradients, ε is the Kronecker-factored
second-order estimate of KL(dense ‖ compressed) (Martens & Grosse 2015, eq. 1 and section 3; for convolutions
Grosse & Martens 2016). With G = I it is the activation-aware error of BALF (arXiv:2509.25136), with A = I
too the plain reconstruction error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from ranksearch.networks import Chain, Factors, reconstruct

_FLOOR = 1e-8

_WIDE_MODE = 1024
"""Modes with more entries are whitened with their diagonals only: the root of a full matrix would cost too much."""

_DIAGONAL_FLOOR = 1e-4
"""Lower bound on the relative second moment of an entry of such a mode."""


@dataclass(frozen=True)
class Columns:
    """A of a wide layer: (1 − weight) · X Xᵀ + weight · the Kronecker product of its modes' own moments.

    X: An (n, r) float32 tensor, r far below n. The modes' moments cover what these few columns cannot determine.
    """

    X: Tensor
    weight: float


def kernel_error(
    kernel: Tensor, approximation: Tensor, A: Tensor | Columns | None = None, G: Tensor | None = None
) -> float:
    """ε of an approximation.

    kernel: An (O, I, *kernel_size) tensor.
    approximation: An (O, I, *kernel_size) tensor.
    A: An (n, n) tensor with n = I·prod(kernel_size); None stands for the identity. Of `Columns` only X is used: the
        error on the patches themselves.
    G: An (O, O) tensor; None stands for the identity.
    """
    delta = (kernel - approximation).flatten(1)
    if isinstance(A, Columns):
        outputs = (delta.to(A.X.dtype) @ A.X).double()
        return 0.5 * float((outputs * (outputs if G is None else G.double() @ outputs)).sum())
    delta = delta.double()
    left = delta if G is None else G.double() @ delta
    right = delta if A is None else delta @ A.double()
    return 0.5 * float((left * right).sum())


@dataclass(frozen=True)
class Root:
    """The remaining A after whitening the modes, close to the identity: matrix matrixᵀ + ridge · I.

    matrix: (n, m), float64; square and lower triangular, with no ridge, unless the layer is wide.
    """

    matrix: Tensor
    ridge: float = 0.0

    @property
    def length(self) -> int:
        """Entries of a weighted row."""
        n, m = self.matrix.shape
        return m + n if self.ridge else m

    def weigh(self, kernel: Tensor) -> Tensor:
        """Rows (O, n) in coordinates where ε is half a sum of squares: (O, m), or (O, m + n) with a ridge."""
        rows = kernel @ self.matrix
        return torch.cat([rows, self.ridge**0.5 * kernel], dim=1) if self.ridge else rows


@dataclass(frozen=True)
class Whitened:
    """A kernel in coordinates where ε is half a sum of squares.

    kernel: An (O, I, *kernel_size) float64 tensor, K = G^½ W (A_i^½ ⊗ A_h^½ ⊗ A_w^½); the modes' own moments A_i,
        A_h, A_w are traces of A over the other modes.
    root: the second moments that remain after whitening the modes. ε of K̂ is ½‖root.weigh(K − K̂)‖².
    output_root: Two (O, O) float64 tensors, the symmetric root G^½ and its inverse; without G, the identity.
    input_root: Two (I, I) float64 tensors, the same of A_i; without A, or with more than 1,024 channels, only their
        diagonals.
    axis_roots: For each axis two (k, k) float64 tensors, the same of A_h, A_w, …; without A only their diagonals.
    """

    kernel: Tensor
    root: Root
    output_root: tuple[Tensor, Tensor]
    input_root: tuple[Tensor, Tensor]
    axis_roots: tuple[tuple[Tensor, Tensor], ...]

    @cached_property
    def _outputs(self) -> tuple[Tensor, Tensor]:
        kernel = self.kernel.flatten(1)
        images = kernel @ self.root.matrix
        values, vectors = torch.linalg.eigh(images @ images.T + self.root.ridge * (kernel @ kernel.T))
        return values.flip(0).clamp_min(0), vectors.flip(1)

    @property
    def output_basis(self) -> Tensor:
        """An (O, O) float64 tensor: the left singular vectors of the weighted kernel; the first R span its best rank-R
        outputs."""
        return self._outputs[1]

    @property
    def output_energies(self) -> Tensor:
        """An (O,) float64 tensor: the squared singular values of the weighted kernel, falling."""
        return self._outputs[0]

    @cached_property
    def scale(self) -> float:
        """ε of the zero kernel."""
        return 0.5 * float(self.output_energies.sum())

    def error(self, chain: Chain, factors: Sequence[Tensor]) -> float:
        """ε of whitened factors."""
        approximation = reconstruct(chain, [f.double() for f in factors], self.kernel.shape[2:])
        delta = (self.kernel - approximation).flatten(1)
        weighed = float((delta @ self.root.matrix).square().sum())
        return 0.5 * (weighed + self.root.ridge * float(delta.square().sum()))

    def to_layer(self, chain: Chain, factors: Sequence[Tensor]) -> Factors:
        """Whitened factors as weights of the layer's own inputs and outputs."""
        return self._map(chain, factors, 1)

    def from_layer(self, chain: Chain, factors: Sequence[Tensor]) -> Factors:
        """The inverse of `to_layer`."""
        return self._map(chain, factors, 0)

    def _map(self, chain: Chain, factors: Sequence[Tensor], which: int) -> Factors:
        mapped = [f.double() for f in factors]
        for k, factor in enumerate(chain):
            first_tap = 1 if factor.depthwise else 2
            for position, axis in enumerate(factor.axes):
                mapped[k] = _apply(self.axis_roots[axis][which], mapped[k], first_tap + position)
        mapped[0] = _apply(self.input_root[which], mapped[0], 1)
        mapped[-1] = _apply(self.output_root[which], mapped[-1], 0)
        return tuple(mapped)


def whiten(kernel: Tensor, A: Tensor | Columns | None = None, G: Tensor | None = None) -> Whitened:
    """Change to whitened coordinates.

    kernel: An (O, I, *kernel_size) tensor.
    A: An (n, n) tensor with n = I·prod(kernel_size), or `Columns`; None stands for the identity.
    G: An (O, O) tensor; None stands for the identity.
    """
    kernel = kernel.detach().double()
    o, *modes = kernel.shape
    output_root = _symmetric_root(_eye(o, kernel) if G is None else G.double())
    roots = [
        _symmetric_root(_marginal(A, mode, modes, kernel, normalise=mode > 0)) for mode in range(len(modes))
    ]
    white = _apply(output_root[0], kernel, 0)
    for mode, (root, _) in enumerate(roots):
        white = _apply(root, white, 1 + mode)
    return Whitened(white, _remaining(A, roots, modes, kernel), output_root, roots[0], tuple(roots[1:]))


def _eye(size: int, like: Tensor) -> Tensor:
    return torch.eye(size, dtype=torch.float64, device=like.device)


def _remaining(
    A: Tensor | Columns | None, roots: Sequence[tuple[Tensor, Tensor]], modes: Sequence[int], kernel: Tensor
) -> Root:
    """The root of A in coordinates where its modes are white."""
    n = prod(modes)
    if A is None:
        return Root(kernel.new_zeros(n, 0), 1.0)
    if isinstance(A, Columns):
        columns = A.X.double().reshape(*modes, -1)
        for mode, (_, inverse) in enumerate(roots):
            columns = _apply(inverse, columns, mode)
        return Root((1 - A.weight) ** 0.5 * columns.reshape(n, -1), A.weight)
    moments = A.double().reshape(*modes, *modes)
    for mode, (_, inverse) in enumerate(roots):
        moments = _apply(inverse, _apply(inverse, moments, mode), len(modes) + mode)
    left = moments.reshape(n, n)
    left = (left + left.T) / 2
    jitter = _FLOOR * float(left.diagonal().mean())
    return Root(torch.linalg.cholesky(left + jitter * _eye(n, kernel)))


def _apply(matrix: Tensor, tensor: Tensor, dim: int) -> Tensor:
    """Multiply one mode of a tensor by a symmetric matrix (size, size), or by a diagonal (size,)."""
    if matrix.dim() == 1:
        return tensor * matrix.reshape(-1, *(1 for _ in range(tensor.dim() - dim - 1)))
    product: Tensor = torch.tensordot(tensor, matrix, dims=([dim], [0]))
    return product.movedim(-1, dim)


def _marginal(
    A: Tensor | Columns | None, mode: int, modes: Sequence[int], kernel: Tensor, *, normalise: bool
) -> Tensor:
    """Second moments of one mode: the mean over the others, (size, size); mean diagonal 1 if normalised.

    For a mode that is too wide only the diagonal, (size,).
    """
    size, rest = modes[mode], prod(modes) // modes[mode]
    if A is None:
        return kernel.new_ones(size)
    if isinstance(A, Columns):
        rows = A.X.double().reshape(*modes, -1).movedim(mode, 0).flatten(1)
        wide = size > _WIDE_MODE
        marginal = (rows.square().sum(1) if wide else rows @ rows.T) / rest
    else:
        order = [mode, *(m for m in range(len(modes)) if m != mode)]
        blocks = A.double().reshape(*modes, *modes).permute(*order, *(len(modes) + m for m in order))
        marginal = blocks.reshape(size, rest, size, rest).diagonal(dim1=1, dim2=3).mean(-1)
    diagonal = marginal if marginal.dim() == 1 else marginal.diagonal()
    mean = diagonal.mean()
    if not normalise:
        return marginal
    return marginal / mean if mean > 0 else _eye(size, kernel)


def _symmetric_root(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric square root of a positive semidefinite matrix, and its inverse, with a relative floor.

    For a diagonal, given as a vector, both are vectors too.
    """
    if matrix.dim() == 1:
        roots = matrix.clamp_min(max(float(matrix.max()), 1e-30) * _DIAGONAL_FLOOR).sqrt()
        return roots, 1 / roots
    values, vectors = torch.linalg.eigh(matrix)
    top = float(values[-1])
    if top <= 0:
        eye = _eye(len(matrix), matrix)
        return eye, eye
    roots = values.clamp_min(top * _FLOOR).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T
