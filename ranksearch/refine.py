"""Fitting a chain of factors to a kernel by minimising ε itself.

The last factor is dense in its outputs, so that for given earlier factors the best one is a linear least-squares
solution. It is eliminated (variable projection, Golub & Pereyra 1973), and L-BFGS runs over the earlier
factors alone, in whitened coordinates, where the problem is well scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from ranksearch.chain import Chain, Factor, Factors, reconstruct
from ranksearch.layers import Size
from ranksearch.metric import Whitened

RIDGE = 1e-6
"""Weight of the last factor's norm, relative to normalised components.

It keeps nearly parallel components from growing against each other without bound, the degeneracy of CP.
"""


@dataclass(frozen=True)
class Fit:
    """Factors of one chain in whitened coordinates, float64, and their ε."""

    chain: Chain
    factors: Factors
    error: float


def refine(whitened: Whitened, chain: Chain, factors: Sequence[Tensor], *, iterations: int) -> Fit:
    """Minimise ε from `factors` by at most `iterations` steps of L-BFGS; never worse than where it started.

    One step costs about 6·K·n² FLOPs, with n = I·kh·kw and K the last factor's number of inputs and taps.
    """
    kernel_size = whitened.kernel.shape[2:]
    start = _solved(whitened, chain, factors)
    given = Fit(chain, tuple(f.double() for f in factors), whitened.error(chain, factors))
    best = min(start, given, key=lambda fit: fit.error)
    if iterations == 0 or best.error <= 1e-10 * whitened.scale:
        return best
    target = whitened.target.float()
    root = whitened.root.float()
    total = float(target.square().sum())
    inner = [f.float().contiguous().clone().requires_grad_() for f in best.factors[:-1]]
    optimiser = torch.optim.LBFGS(
        inner,
        max_iter=iterations,
        max_eval=2 * iterations,
        history_size=10,
        line_search_fn="strong_wolfe",
        tolerance_grad=1e-8,
        tolerance_change=1e-12,
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = 1 - _explained(_basis(chain, inner, kernel_size) @ root, target) / total
        loss.backward()
        return loss

    # A step far out can leave the normal equations singular in single precision: what was reached until then counts.
    with suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        optimiser.step(closure)
    refined = [f.detach() for f in inner]
    if not all(bool(torch.isfinite(f).all()) for f in refined):
        return best
    return min(best, _solved(whitened, chain, [*refined, best.factors[-1]]), key=lambda fit: fit.error)


def _explained(basis: Tensor, target: Tensor) -> Tensor:
    """‖target‖² that the best last factor explains: basis (K, n), target (O, n)."""
    _, lower, right = _normal_equations(basis, target)
    solved: Tensor = torch.linalg.solve_triangular(lower, right, upper=False)
    return solved.square().sum()


def _normal_equations(basis: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    norms = basis.norm(dim=1, keepdim=True).clamp_min(1e-20)
    unit = basis / norms
    gram = unit @ unit.T
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return norms, torch.linalg.cholesky(gram + RIDGE * eye), unit @ target.T


def _solved(whitened: Whitened, chain: Chain, factors: Sequence[Tensor]) -> Fit:
    """The factors with the last one replaced by the least-squares solution, in float64, norms balanced."""
    kernel_size = whitened.kernel.shape[2:]
    inner = [f.double() for f in factors[:-1]]
    norms, lower, right = _normal_equations(
        _basis(chain, inner, kernel_size) @ whitened.root, whitened.target
    )
    last = (torch.cholesky_solve(right, lower) / norms).T.reshape(chain[-1].shape(kernel_size))
    solved = balance(chain, [*inner, last])
    return Fit(chain, solved, whitened.error(chain, solved))


def _basis(chain: Chain, inner: Sequence[Tensor], kernel_size: Size) -> Tensor:
    """What the last factor combines: one kernel (I, *kernel_size) for each of its inputs and taps, (K, n).

    That is the kernel of the chain with the identity as its last factor.
    """
    last = chain[-1]
    one = last.shape(kernel_size)[1:]
    count = prod(one)
    identity = torch.eye(count, dtype=inner[0].dtype, device=inner[0].device).reshape(count, *one)
    ends = (*chain[:-1], Factor(last.in_channels, count, last.axes))
    return reconstruct(ends, [*inner, identity], kernel_size).flatten(1)


def balance(chain: Chain, factors: Sequence[Tensor], sweeps: int = 3) -> Factors:
    """Scale each bond so that the slices of all factors that share it have equal norms; the kernel stays.

    A bond joins the output of one dense factor, the depthwise ones behind it and the input of the next dense one.
    """
    balanced = list(factors)
    bonds = _bonds(chain)
    for _ in range(sweeps if len(bonds) > 1 else 1):
        for bond in bonds:
            norms = [balanced[k].movedim(dim, 0).flatten(1).norm(dim=1) for k, dim in bond]
            alive = torch.stack(norms).amin(dim=0) > 0
            goal = torch.stack(norms).clamp_min(1e-30).log().mean(dim=0).exp()
            for (k, dim), norm in zip(bond, norms, strict=True):
                shape = [-1 if d == dim else 1 for d in range(balanced[k].dim())]
                scale = torch.where(alive, goal / norm.clamp_min(1e-30), torch.ones_like(norm))
                balanced[k] = balanced[k] * scale.reshape(shape)
    return tuple(balanced)


def _bonds(chain: Chain) -> list[list[tuple[int, int]]]:
    """For each bond the (factor, dimension) pairs that carry its index."""
    bonds: list[list[tuple[int, int]]] = []
    for k, factor in enumerate(chain):
        if factor.depthwise:
            bonds[-1].append((k, 0))
            continue
        if k > 0:
            bonds[-1].append((k, 1))
        if k < len(chain) - 1:
            bonds.append([(k, 0)])
    return bonds


def pad(smaller: Chain, larger: Chain, factors: Sequence[Tensor], kernel_size: Size) -> Factors:
    """The same kernel at ranks that are componentwise no smaller: zeros fill the new slices."""
    padded = []
    for small, large, factor in zip(smaller, larger, factors, strict=True):
        grown = factor.new_zeros(large.shape(kernel_size))
        grown[tuple(slice(size) for size in small.shape(kernel_size))] = factor
        padded.append(grown)
    return tuple(padded)


def fits_into(smaller: Chain, larger: Chain) -> bool:
    """Whether every rank of one chain is at most that of the other: then `pad` applies."""
    return all(_no_wider(small, large) for small, large in zip(smaller, larger, strict=True))


def _no_wider(small: Factor, large: Factor) -> bool:
    return small.in_channels <= large.in_channels and small.out_channels <= large.out_channels
