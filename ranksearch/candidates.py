"""The candidates of a layer: every decomposition at every rank that could pay, with cost and error.

A few ranks of each form are fitted; the errors between them are interpolated along the spectra. A candidate
whose factors are asked for is fitted then, from the nearest fitted ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import pairwise, product
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksearch import decompositions
from ranksearch.chain import Chain, chain_cost, reconstruct
from ranksearch.costs import Cost
from ranksearch.decompositions.base import Decomposition, Ranks
from ranksearch.errorkind import ErrorKind
from ranksearch.layers import Layer
from ranksearch.metric import Whitened, kernel_error
from ranksearch.modules import threads
from ranksearch.plan import DENSE, Candidate, Table
from ranksearch.refine import Fit, fits_into, pad, refine

_EXACT = 1e-6
"""Relative ε below which a fit counts as exact."""

_SMALL = 1024
"""Fits of kernels with at most so many entries a row use one thread: more threads wait for each other, and on a
busy machine they wait long."""

_MAX_PATH = 1500
"""Rank combinations examined per form."""


@dataclass(frozen=True)
class CandidateConfig:
    """What may be proposed.

    rank_multiple: pairs of a layer pattern and the number whose multiples the ranks of such layers are; the
    last pattern that matches counts. fits_per_form: ranks of each form that are fitted, the others' errors
    are interpolated. iterations: of a candidate's refinement. error: what is fitted and compared, see `simplify`.
    """

    decompositions: tuple[str, ...] = ("svd", "spatial_svd", "tucker2", "cp", "tensor_train")
    min_rank: int = 1
    rank_multiple: tuple[tuple[str, int], ...] = (("*", 1),)
    fits_per_form: int = 6
    iterations: int = 15
    error: ErrorKind = "fisher"

    def multiple(self, name: str) -> int:
        return next((m for pattern, m in reversed(self.rank_multiple) if fnmatchcase(name, pattern)), 1)


@dataclass
class Fits:
    """The factors of candidates, fitted when first asked for; the same whatever was asked before."""

    whitened: Mapping[str, Whitened]
    grid: Mapping[str, Sequence[tuple[Candidate, Fit]]]
    iterations: int
    _cache: dict[tuple[str, str, str, Ranks], Fit] = field(default_factory=dict)

    def fit(self, layer: Layer, candidate: Candidate) -> Fit:
        """The fit of a candidate in whitened coordinates."""
        key = (layer.name, candidate.decomposition, candidate.form, candidate.ranks)
        if key not in self._cache:
            grid = self.grid[layer.name]
            known = [
                fit
                for c, fit in grid
                if (c.decomposition, c.form) == (candidate.decomposition, candidate.form)
            ]
            self._cache[key] = fit_candidate(
                self.whitened[layer.name],
                layer,
                decompositions.get(candidate.decomposition),
                candidate.form,
                candidate.ranks,
                known,
                iterations=self.iterations,
            )
        return self._cache[key]

    def factors(self, layer: Layer, candidate: Candidate) -> tuple[Tensor, ...]:
        """Weights of a candidate's chain for the layer's own inputs and outputs, float32."""
        fit = self.fit(layer, candidate)
        return tuple(f.float() for f in self.whitened[layer.name].to_layer(fit.chain, fit.factors))


def fit_candidate(
    whitened: Whitened,
    layer: Layer,
    decomposition: Decomposition,
    form: str,
    ranks: Ranks,
    known: Iterable[Fit],
    *,
    iterations: int,
) -> Fit:
    """The best of a fresh start and the known fits at smaller ranks, refined.

    Since smaller fits are contained in larger ones, ε does not rise as ranks grow along `known`.
    """
    chain = decomposition.chain(layer, form, ranks)
    known = list(known)
    for fit in known:
        if fit.chain == chain:
            return fit
    with threads(1 if len(whitened.root) <= _SMALL else None):
        fresh = decomposition.init(whitened, form, ranks)
        fitted = refine(whitened, chain, fresh, iterations=0 if decomposition.closed_form else iterations)
    kernel_size = whitened.kernel.shape[2:]
    contained = [fit for fit in known if fits_into(fit.chain, chain)]
    best = min(contained, key=lambda fit: fit.error, default=fitted)
    if best.error < fitted.error:
        return Fit(chain, pad(best.chain, chain, best.factors, kernel_size), best.error)
    return fitted


def layer_candidates(
    layer: Layer,
    whitened: Whitened,
    config: CandidateConfig,
    held_out: Callable[[Fit], float] | None = None,
) -> tuple[Table, list[tuple[Candidate, Fit]]]:
    """The table of a layer, and the fits that its errors rest on.

    `held_out` maps a fit to its ε on moments that it was not fitted to; where it is given, that error counts.
    """
    candidates = [Candidate(DENSE, "", (), layer.cost, 0.0)]
    grid: list[tuple[Candidate, Fit]] = []
    for name in config.decompositions:
        decomposition = decompositions.get(name)
        for form in decomposition.forms(layer):
            path = rank_path(layer, decomposition, form, whitened, config)
            if not path.ranks:
                continue
            nodes = _nodes(path.costs, config.fits_per_form)
            fits: list[Fit] = []
            for node in nodes:
                fits.append(
                    fit_candidate(
                        whitened,
                        layer,
                        decomposition,
                        form,
                        path.ranks[node],
                        fits,
                        iterations=config.iterations,
                    )
                )
            fitted = [held_out(fit) if held_out else fit.error for fit in fits]
            errors = _interpolate(path, nodes, fitted, _EXACT * whitened.scale)
            found = [
                Candidate(name, form, ranks, cost, float(error))
                for ranks, cost, error in zip(path.ranks, path.costs, errors, strict=True)
            ]
            candidates += found
            grid += [(found[node], fit) for node, fit in zip(nodes, fits, strict=True)]
    return Table(layer, pareto(candidates), whitened.scale), grid


@dataclass(frozen=True)
class RankPath:
    """The ranks of one form worth proposing, by rising parameters; `tails` estimates their ε from the spectra."""

    ranks: list[Ranks]
    costs: list[Cost]
    tails: NDArray[np.float64]


def rank_path(
    layer: Layer, decomposition: Decomposition, form: str, whitened: Whitened, config: CandidateConfig
) -> RankPath:
    """Ranks that are cheaper than the dense layer in some metric, thinned to those that the spectra favour."""
    limits = decomposition.max_ranks(layer, form)
    step = config.multiple(layer.name)
    per_rank = round(_MAX_PATH ** (1 / len(limits)))
    values = [_rank_values(config.min_rank, limit, step, per_rank) for limit in limits]
    spectra = [_tails(cut) for cut in decomposition.cuts(whitened, form)]
    rows: list[tuple[Ranks, Cost, float]] = []
    for ranks in product(*values):
        chain = decomposition.chain(layer, form, ranks)
        if len(ranks) > 1 and not _consistent(chain, layer):
            continue
        cost = chain_cost(layer, chain)
        if cost.params < layer.cost.params or cost.flops < layer.cost.flops:
            lost = (tails[min(r, len(tails) - 1)] for tails, r in zip(spectra, ranks, strict=bool(spectra)))
            rows.append((ranks, cost, sum(lost) / 2))
    rows.sort(key=lambda row: (row[1].params, row[1].flops, row[2]))
    if len(limits) > 1 and spectra:
        keep = _front(np.array([[row[1].params, row[1].flops, row[2]] for row in rows]).reshape(-1, 3))
        rows = [rows[k] for k in keep]
    tails = np.array([row[2] for row in rows]) if spectra else np.ones(len(rows))
    return RankPath([row[0] for row in rows], [row[1] for row in rows], tails)


def _rank_values(low: int, high: int, step: int, most: int) -> list[int]:
    """Multiples of `step` from `low` to `high`, at most `most` of them, thinned geometrically."""
    first = -(-low // step)
    last = high // step
    if last < first:
        return []
    if last - first + 1 <= most:
        return [step * k for k in range(first, last + 1)]
    return sorted({step * round(k) for k in np.geomspace(first, last, most)})


def _tails(matrix: Tensor) -> NDArray[np.float64]:
    """Energy beyond each rank 0, 1, …: sums of squared singular values."""
    energy = torch.linalg.svdvals(matrix).square().flip(0).cumsum(0).flip(0)
    return np.append(energy.cpu().numpy(), 0.0)


def _consistent(chain: Chain, layer: Layer) -> bool:
    """Whether all ranks can be used up: none exceeds what the factor on either side of it can fill."""
    for before, after in pairwise(chain):
        taps_before, taps_after = (prod(layer.kernel_size[axis] for axis in f.axes) for f in (before, after))
        rank = before.out_channels
        if rank > before.in_channels * taps_before or rank > after.out_channels * taps_after:
            return False
    return True


def _nodes(costs: Sequence[Cost], count: int) -> list[int]:
    """Indices of `count` ranks, geometrically spaced in parameters, the ends among them."""
    params = np.array([cost.params for cost in costs], dtype=float)
    goals = np.geomspace(params[0], params[-1], count)
    return sorted({int(np.argmin(np.abs(np.log(params) - np.log(goal)))) for goal in goals})


def _interpolate(
    path: RankPath, nodes: Sequence[int], fitted: Sequence[float], floor: float
) -> NDArray[np.float64]:
    """ε of all ranks: the spectral estimate times its correction at the fitted ranks, linear in log cost.

    Errors and estimates below `floor` count as exact: their ratio says nothing about the ranks in between.
    """
    x = np.log([cost.params for cost in path.costs])
    tails = np.maximum(path.tails, floor)
    ratio = np.log(np.maximum(fitted, floor)) - np.log(tails[list(nodes)])
    errors = tails * np.exp(np.interp(x, x[list(nodes)], ratio))
    errors[list(nodes)] = fitted
    return np.asarray(errors)


def pareto(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that no other beats in parameters, FLOPs and error at once, by rising cost."""
    rows = sorted(candidates, key=lambda c: (c.cost.params, c.cost.flops, c.error))
    keep = _front(np.array([[c.cost.params, c.cost.flops, c.error] for c in rows]))
    return tuple(rows[k] for k in keep)


def _front(points: NDArray[np.float64]) -> list[int]:
    """Indices of the rows that no earlier row dominates or equals; rows sorted lexicographically."""
    keep: list[int] = []
    for k, point in enumerate(points):
        if not keep or not bool((points[keep] <= point).all(axis=1).any()):
            keep.append(k)
    return keep


def held_out_error(
    kernel: Tensor, whitened: Whitened, A: Tensor | None, G: Tensor | None
) -> Callable[[Fit], float]:
    """ε of fits on other moments: kernel (O, I, …), A (n, n), G (O, O); None stands for the identity."""

    def error(fit: Fit) -> float:
        factors = whitened.to_layer(fit.chain, fit.factors)
        return kernel_error(kernel, reconstruct(fit.chain, factors, kernel.shape[2:]), A, G)

    return error
