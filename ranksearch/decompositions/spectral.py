"""Singular values and vectors of the matrices that kernels are cut into."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

_SMALL = 32
"""Up to this length of the shorter side, LAPACK's SVD is used."""

LARGE = 2**18
"""Kernels with more entries get cheaper initial factors."""


class Spectrum(NamedTuple):
    """The spectrum of a matrix.

    energies: A (k,) float64 tensor with k = min(m, n): the squared singular values, in descending order.
    shape: (m, n).
    """

    energies: Tensor
    shape: tuple[int, int]


def gram(matrix: Tensor) -> Tensor:
    """The smaller Gram matrix.

    matrix: An (m, n) tensor.
    returns: A (k, k) float64 tensor with k = min(m, n).
    """
    matrix = matrix.double()
    return matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix


def spectrum(matrix: Tensor) -> Spectrum:
    """The spectrum of a matrix, from the smaller Gram matrix.

    matrix: An (m, n) tensor.
    """
    values: Tensor = torch.linalg.eigvalsh(gram(matrix))
    return Spectrum(values.flip(0).clamp_min(0), (matrix.shape[0], matrix.shape[1]))


def svd(matrix: Tensor, n_eigenvecs: int | None = None, **_: Any) -> tuple[Tensor, Tensor, Tensor]:
    """The SVD of (m, n), truncated: (m, R), (R,), (R, n). Large ones use the smaller Gram matrix.

    That takes a fraction of the time, and the product of the three is exact in float64, but the singular vectors of
    values below 1e-8 of the largest are arbitrary. tensorly prescribes the signature.
    """
    rank = min(matrix.shape) if n_eigenvecs is None else min(n_eigenvecs, *matrix.shape)
    if min(matrix.shape) <= _SMALL:
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        return left[:, :rank], values[:rank], right[:rank]
    if matrix.shape[0] > matrix.shape[1]:
        left, values, right = svd(matrix.T, rank)
        return right.T, values, left.T
    left = torch.linalg.eigh(gram(matrix))[1].flip(1)[:, :rank].to(matrix.dtype)
    right = left.T @ matrix
    values = right.norm(dim=1)
    tiny = torch.finfo(matrix.dtype).tiny
    return left, values, right / values.clamp_min(tiny)[:, None]


def truncated_svd(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best rank-R approximation of (m, n) as (m, R) @ (R, n), the singular values shared equally."""
    left, values, right = svd(matrix, rank)
    root = values.sqrt()
    return left * root, root[:, None] * right
