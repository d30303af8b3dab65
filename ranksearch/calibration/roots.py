"""Roots of second moments: the linear maps that make a mode of a kernel white, and their inverses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_FLOOR = 1e-8

_DIAGONAL_FLOOR = 1e-4
"""Lower bound on the relative second moment of an entry of a mode that is whitened by its diagonal."""


@dataclass(frozen=True)
class Columns:
    """Second moments of a layer's many inputs or outputs: (1 − weight) · X Xᵀ + weight · a simpler estimate.

    X: An (n, r) float32 tensor, r far below n. What these few columns cannot determine comes from the simpler estimate:
        of inputs the Kronecker product of their modes' own moments, of outputs the diagonal.
    """

    X: Tensor
    weight: float


@dataclass(frozen=True)
class NearDiagonal:
    """The matrix diag(left) (I + basis diag(excess) basisᵀ) diag(right), for modes whose matrices would be too large.

    left: An (n,) float64 tensor.
    basis: An (n, r) float64 tensor with orthonormal columns.
    excess: An (r,) float64 tensor.
    right: An (n,) float64 tensor.
    """

    left: Tensor
    basis: Tensor
    excess: Tensor
    right: Tensor

    def __matmul__(self, rows: Tensor) -> Tensor:
        left, basis, excess, right = (
            part.to(rows.dtype) for part in (self.left, self.basis, self.excess, self.right)
        )
        scaled = right[:, None] * rows
        return scaled.addmm_(basis, excess[:, None] * (basis.T @ scaled)).mul_(left[:, None])

    @property
    def energy(self) -> float:
        """The sum of its squared entries."""
        left, right = self.left.square(), self.right.square()
        own = self.basis.square() @ self.excess
        sides = [self.basis.T @ (side[:, None] * self.basis) for side in (left, right)]
        return float((left * right * (1 + 2 * own)).sum() + self.excess @ (sides[0] * sides[1]) @ self.excess)


Map = Tensor | NearDiagonal
"""A linear map of a mode: a matrix (n, n), a diagonal (n,), or a `NearDiagonal`."""


def apply(map: Map, tensor: Tensor, dim: int) -> Tensor:
    """Multiply one mode of a tensor by a map, in the tensor's precision; matrices have to be symmetric."""
    if isinstance(map, NearDiagonal):
        moved = tensor.movedim(dim, 0)
        return (map @ moved.flatten(1)).reshape(moved.shape).movedim(0, dim)
    map = map.to(tensor.dtype)
    if map.dim() == 1:
        return tensor * map.reshape(-1, *(1 for _ in range(tensor.dim() - dim - 1)))
    product: Tensor = torch.tensordot(tensor, map, dims=([dim], [0]))
    return product.movedim(-1, dim)


def diagonal_floor(diagonal: Tensor) -> float:
    """What is added to the diagonal of second moments, so that dead channels do not appear free of error."""
    mean = float(diagonal.mean())
    return 1e-4 * mean if mean > 0 else 1.0


def diagonal_root(diagonal: Tensor) -> tuple[Tensor, Tensor]:
    """The square root of a diagonal matrix that is known exactly, and its inverse; only zeros have a floor.

    diagonal: An (n,) tensor.
    """
    roots = diagonal.clamp_min(_FLOOR * float(diagonal.mean()) or 1.0).sqrt()
    return roots, 1 / roots


def symmetric_root(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric square root of a positive semidefinite matrix, and its inverse, with a relative floor.

    For a diagonal, given as a vector, both are vectors too.
    """
    if matrix.dim() == 1:
        roots = matrix.clamp_min(max(float(matrix.max()), 1e-30) * _DIAGONAL_FLOOR).sqrt()
        return roots, 1 / roots
    values, vectors = torch.linalg.eigh(matrix)
    top = float(values[-1])
    if top <= 0:
        eye = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
        return eye, eye
    roots = values.clamp_min(top * _FLOOR).sqrt()
    return (vectors * roots) @ vectors.T, (vectors / roots) @ vectors.T


def root_of_columns(G: Columns) -> tuple[NearDiagonal, NearDiagonal]:
    """R with Rᵀ R = (1 − w) X Xᵀ + D, and its inverse; D is w times the diagonal of X Xᵀ, with a floor.

    With Z = D^-½ X √(1 − w) = U S Vᵀ it is R = (I + Z Zᵀ)^½ D^½ = (I + U ((I + S²)^½ − I) Uᵀ) D^½, which takes no
    (O, O) matrix.
    """
    X = G.X.double()
    diagonal = X.square().sum(1)
    scale = (G.weight * diagonal + diagonal_floor(diagonal)).sqrt()
    Z = (1 - G.weight) ** 0.5 * X / scale[:, None]
    energies, right = torch.linalg.eigh(Z.T @ Z)
    kept = energies > _FLOOR * energies[-1].clamp_min(1.0)
    energies = energies[kept]
    basis = Z @ right[:, kept] / energies.sqrt()
    one, root = torch.ones_like(scale), (1 + energies).sqrt()
    return NearDiagonal(one, basis, root - 1, scale), NearDiagonal(1 / scale, basis, 1 / root - 1, one)
