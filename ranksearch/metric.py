"""The error that counts, ε = ½ · tr(G ΔW A ΔWᵀ), and coordinates in which it is nearly the plain norm.

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

from ranksearch.chain import Chain, Factors, reconstruct

_FLOOR = 1e-8


def kernel_error(
    kernel: Tensor, approximation: Tensor, A: Tensor | None = None, G: Tensor | None = None
) -> float:
    """ε of an approximation: kernels (O, I, …), A (I·kh·kw, I·kh·kw), G (O, O); None stands for the identity."""
    delta = (kernel - approximation).flatten(1).double()
    left = delta if G is None else G.double() @ delta
    right = delta if A is None else delta @ A.double()
    return 0.5 * float((left * right).sum())


@dataclass(frozen=True)
class Whitened:
    """A kernel in coordinates where ε is half a sum of squares.

    kernel: K = G^½ W (A_i^½ ⊗ A_h^½ ⊗ A_w^½), (O, I, *kernel_size), float64; the modes' own moments A_i, A_h, A_w
    are traces of A over the other modes.
    root: lower triangular, (n, n), float64: the second moments that are left after the modes are whitened are
    root rootᵀ, near the identity. ε of K̂ is ½‖(K − K̂) root‖².
    output_root, input_root, axis_roots: the symmetric roots G^½, A_i^½, A_h^½, …, each with its inverse.
    """

    kernel: Tensor
    root: Tensor
    output_root: tuple[Tensor, Tensor]
    input_root: tuple[Tensor, Tensor]
    axis_roots: tuple[tuple[Tensor, Tensor], ...]

    @cached_property
    def target(self) -> Tensor:
        """K root, (O, n), float64."""
        return self.kernel.flatten(1) @ self.root

    @cached_property
    def _target_factors(self) -> tuple[Tensor, Tensor, Tensor]:
        left, values, right = torch.linalg.svd(self.target, full_matrices=False)
        return left, values, right

    def target_svd(self, rank: int) -> tuple[Tensor, Tensor]:
        """The truncated SVD of the target as (O, R) @ (R, n), singular values shared equally; computed once."""
        left, values, right = self._target_factors
        root = values[:rank].sqrt()
        return left[:, :rank] * root, root[:, None] * right[:rank]

    @cached_property
    def scale(self) -> float:
        """ε of the zero kernel."""
        return 0.5 * float(self.target.square().sum())

    def error(self, chain: Chain, factors: Sequence[Tensor]) -> float:
        """ε of whitened factors."""
        approximation = reconstruct(chain, [f.double() for f in factors], self.kernel.shape[2:])
        return 0.5 * float((self.target - approximation.flatten(1) @ self.root).square().sum())

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


def whiten(kernel: Tensor, A: Tensor | None = None, G: Tensor | None = None) -> Whitened:
    """Change to whitened coordinates: kernel (O, I, *kernel_size), A (n, n) with n = I·kh·kw, G (O, O)."""
    kernel = kernel.detach().double()
    o, i, *taps = kernel.shape
    n = i * prod(taps)
    A = torch.eye(n, dtype=torch.float64, device=kernel.device) if A is None else A.double()
    G = torch.eye(o, dtype=torch.float64, device=kernel.device) if G is None else G.double()
    modes = (i, *taps)
    moments = A.reshape(*modes, *modes)
    roots = [
        _symmetric_root(_marginal(moments, mode, modes, normalise=mode > 0)) for mode in range(len(modes))
    ]
    output_root = _symmetric_root(G)
    white = _apply(output_root[0], kernel, 0)
    for mode, (root, inverse) in enumerate(roots):
        white = _apply(root, white, 1 + mode)
        moments = _apply(inverse, _apply(inverse, moments, mode), len(modes) + mode)
    left = moments.reshape(n, n)
    left = (left + left.T) / 2
    jitter = _FLOOR * float(left.diagonal().mean())
    root = torch.linalg.cholesky(left + jitter * torch.eye(n, dtype=left.dtype, device=left.device))
    return Whitened(white, root, output_root, roots[0], tuple(roots[1:]))


def _apply(matrix: Tensor, tensor: Tensor, dim: int) -> Tensor:
    """Multiply one mode of a tensor by a symmetric matrix."""
    product: Tensor = torch.tensordot(tensor, matrix, dims=([dim], [0]))
    return product.movedim(-1, dim)


def _marginal(moments: Tensor, mode: int, modes: Sequence[int], *, normalise: bool) -> Tensor:
    """Second moments of one mode: the mean over the others, (size, size); mean diagonal 1 where normalised."""
    order = [mode, *(m for m in range(len(modes)) if m != mode)]
    rows = moments.permute(*order, *(len(modes) + m for m in order))
    size, rest = modes[mode], prod(modes) // modes[mode]
    marginal = rows.reshape(size, rest, size, rest).diagonal(dim1=1, dim2=3).mean(-1)
    if normalise:
        mean = marginal.diagonal().mean()
        return marginal / mean if mean > 0 else torch.eye(size, dtype=marginal.dtype, device=marginal.device)
    return marginal


def _symmetric_root(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric square root of a positive semidefinite matrix, and its inverse, with a relative floor."""
    values, vectors = torch.linalg.eigh(matrix)
    top = float(values[-1])
    if top <= 0:
        eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        return eye, eye
    roots = values.clamp_min(top * _FLOOR).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T
