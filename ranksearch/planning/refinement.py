"""Fitting a chain of factors to a kernel by minimising ε itself.

The last factor is dense, so for given earlier factors the best last factor is a linear least-squares
solution. It is eliminated (variable projection, Golub & Pereyra 1973), and L-BFGS runs over the earlier
factors alone, in whitened coordinates, where the problem is well scaled.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from torch import Tensor

from ranksearch.calibration import Whitened
from ranksearch.networks import Chain, Factor, Factors, Size, contract

RIDGE = 1e-3
"""Weight of the last factor's norm in the refinement, relative to normalised components, at most: it is no larger than
the relative ε.

It prevents the degeneracy of CP, in which nearly parallel components diverge and cancel, and makes the refinement
converge faster: on ResNet-20 at half the parameters the sum of ε after 300 steps is a tenth smaller than with 1e-6.
"""

LAST_RIDGE = 1e-6
"""The same once the other factors are found: enough for the equations to be solved, and too little to be seen."""


@dataclass(frozen=True)
class Fit:
    """Factors of one chain in whitened coordinates, and their ε.

    factors: One tensor for each factor of the chain, of its `shape` and the kernel's precision.
    """

    chain: Chain
    factors: Factors
    error: float

    def weights(self, whitened: Whitened) -> Factors:
        """The factors for the layer's own inputs and outputs, float32; `whitened` is the kernel that was fitted."""
        return tuple(f.float() for f in whitened.to_layer(self.chain, self.factors))


def refine(
    whitened: Whitened,
    chain: Chain,
    factors: Sequence[Tensor],
    *,
    iterations: int,
    flops: float = float("inf"),
) -> Fit:
    """Minimise ε from `factors` by at most `iterations` steps of L-BFGS; never worse than the start.

    Wide layers get fewer steps, so that all steps together cost at most about `flops`. After half of them the ridge
    follows the ε that they have reached.
    """
    whitened = whitened.suited(chain)
    best = _solved(whitened, chain, factors)
    iterations = int(min(iterations, flops / step_flops(whitened, chain)))
    for steps in (iterations - iterations // 2, iterations // 2):
        if steps and best.error > 1e-10 * whitened.scale:
            best = _refined(whitened, chain, best, steps)
    return best


def _refined(whitened: Whitened, chain: Chain, best: Fit, iterations: int) -> Fit:
    """The fit after some steps of L-BFGS, or as it was where that is better."""
    ridge = min(RIDGE, max(LAST_RIDGE, best.error / whitened.scale))
    projection = _projection(whitened, chain, torch.float32)
    if projection.total == 0:  # so small a kernel that its squares vanish in single precision
        return best
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

    def closure() -> float:
        optimiser.zero_grad()
        components = contract(chain[:-1], inner)
        loss, gradient = projection.loss(components.detach().flatten(1), ridge)
        components.backward(gradient.reshape(components.shape))
        return loss

    # A long step can make the normal equations singular in single precision: the best factors so far are kept.
    with suppress(torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        optimiser.step(closure)
    refined = [f.detach() for f in inner]
    if not all(bool(torch.isfinite(f).all()) for f in refined):
        return best
    return min(best, _solved(whitened, chain, [*refined, best.factors[-1]]), key=lambda fit: fit.error)


def step_flops(whitened: Whitened, chain: Chain) -> float:
    """The approximate cost of one step of `refine`: with K the last factor's inputs times its taps, 6·K·n·m for the
    images of the components, as much again for K² and K·O inner products of them."""
    o, n, m = len(whitened.kernel), *whitened.root.matrix.shape
    length = whitened.root.length
    last = chain[-1].shape(whitened.kernel.shape[2:])[1:]
    return 6.0 * prod(last) * (n * m / prod(last[1:]) + (prod(last) + o) * length)


@dataclass(frozen=True)
class _Projection:
    """Least squares over the last factor, which combines K components: one for each of its inputs and taps.

    blocks: (S, n/S, m), the rows of the root by the S taps of the last factor. target: (O, m or m + n), the
    weighted kernel. ridge: of the root.
    """

    blocks: Tensor
    target: Tensor
    ridge: float

    @classmethod
    def of(cls, whitened: Whitened, axes: tuple[int, ...], dtype: torch.dtype) -> _Projection:
        kernel = whitened.kernel
        others = [axis for axis in range(kernel.dim() - 2) if axis not in axes]
        modes = kernel.shape[1:]
        order = [*(1 + axis for axis in axes), 0, *(1 + axis for axis in others)]
        rows = whitened.root.matrix.to(dtype).reshape(*modes, -1).permute(*order, -1)
        taps = prod(kernel.shape[2 + axis] for axis in axes)
        blocks = rows.reshape(taps, prod(modes) // taps, -1)
        target = kernel.permute(0, *(1 + mode for mode in order)).flatten(1).to(dtype)
        weighed = target @ blocks.flatten(0, 1)
        ridge = whitened.root.ridge
        if ridge:
            weighed = torch.cat([weighed, ridge**0.5 * target], dim=1)
        return cls(blocks, weighed, ridge)

    @cached_property
    def total(self) -> float:
        """‖target‖²."""
        return float(self.target.square().sum())

    def images(self, components: Tensor) -> Tensor:
        """Weighted components (K, m or m + n), of components (R, n/S) at every tap, K = R·S."""
        images = (components @ self.blocks).movedim(0, 1).flatten(0, 1)
        if not self.ridge:
            return images
        placed = components.new_zeros(len(components), len(self.blocks), *self.blocks.shape[:2])
        placed.diagonal(dim1=1, dim2=2).copy_(self.ridge**0.5 * components[..., None])
        return torch.cat([images, placed.reshape(len(images), -1)], dim=1)

    def _gradient(self, images: Tensor) -> Tensor:
        """The adjoint of `images`: of components, (R, n/S)."""
        taps, _, m = self.blocks.shape
        by_tap = images[:, :m].unflatten(0, (-1, taps)).movedim(1, 0)
        components: Tensor = (by_tap @ self.blocks.mT).sum(0)
        if self.ridge:
            placed = images[:, m:].reshape(-1, taps, taps, self.blocks.shape[1])
            components += self.ridge**0.5 * placed.diagonal(dim1=1, dim2=2).sum(-1)
        return components

    def loss(self, components: Tensor, ridge: float) -> tuple[float, Tensor]:
        """The part of ‖target‖² that no last factor explains, and its gradient with respect to the components.

        It is summed from the residual itself. One minus the explained part would only be exact to single precision
        relative to one, and for small errors the line search would only see rounding noise.
        """
        norms, unit, lower, right = self._normal_equations(self.images(components), ridge)
        solution = torch.cholesky_solve(right, lower)  # (K, O)
        residual = self.target - solution.T @ unit
        unexplained = float(residual.square().sum() + ridge * solution.square().sum())
        pull = solution @ residual
        pull = (pull - unit * (pull * unit).sum(dim=1, keepdim=True)) / norms
        return unexplained / self.total, self._gradient(pull) * (-2 / self.total)

    def solve(self, images: Tensor) -> Tensor:
        """The best last factor, (O, K), for the images of components."""
        norms, _, lower, right = self._normal_equations(images, LAST_RIDGE)
        return (torch.cholesky_solve(right, lower) / norms).T

    def error(self, images: Tensor, last: Tensor) -> float:
        """ε of a last factor (O, K) with the images of components."""
        return 0.5 * float((self.target - last @ images).square().sum())

    def _normal_equations(self, images: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        norms = images.norm(dim=1, keepdim=True).clamp_min(1e-20)
        unit = images / norms
        gram = unit @ unit.T
        gram.diagonal().add_(ridge)
        return norms, unit, torch.linalg.cholesky(gram), unit @ self.target.T


def _projection(whitened: Whitened, chain: Chain, dtype: torch.dtype) -> _Projection:
    """The problem of a chain's last factor, which chains share."""
    axes = chain[-1].axes
    known: _Projection = whitened.known(
        (_Projection, axes, dtype), lambda: _Projection.of(whitened, axes, dtype)
    )
    return known


def _solved(whitened: Whitened, chain: Chain, factors: Sequence[Tensor]) -> Fit:
    """The factors with the last one replaced by the least-squares solution where that is better, in the
    precision of the kernel, norms balanced."""
    *inner, last = (f.to(whitened.kernel.dtype) for f in factors)
    projection = _projection(whitened, chain, whitened.kernel.dtype)
    images = projection.images(contract(chain[:-1], inner).flatten(1))
    best = projection.solve(images)
    error, before = projection.error(images, best), projection.error(images, last.flatten(1))
    if before < error:
        return Fit(chain, (*inner, last), before)
    return Fit(chain, balance(chain, [*inner, best.reshape(last.shape)]), error)


def balance(chain: Chain, factors: Sequence[Tensor], sweeps: int = 3) -> Factors:
    """Scale each bond so that the slices of all factors that share it have equal norms; the kernel does not change.

    A bond joins the output of a dense factor, any depthwise factors that follow, and the input of the next dense one.
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
    """The same kernel at ranks that are at least as large componentwise: the new slices are zero."""
    padded = []
    blocks = smaller[0].blocks  # channels of each between the first two factors
    for k, (large, factor) in enumerate(zip(larger, factors, strict=True)):
        grown = factor.new_zeros(large.shape(kernel_size))
        own, wide = (x.unflatten(k, (blocks, -1)) if k < 2 <= blocks else x for x in (factor, grown))
        wide[tuple(map(slice, own.shape))] = own
        padded.append(grown)
    return tuple(padded)


def fits_into(smaller: Chain, larger: Chain) -> bool:
    """Whether every rank of one chain is at most that of the other, so that `pad` applies."""
    return all(_no_wider(small, large) for small, large in zip(smaller, larger, strict=True))


def _no_wider(small: Factor, large: Factor) -> bool:
    return small.in_channels <= large.in_channels and small.out_channels <= large.out_channels
