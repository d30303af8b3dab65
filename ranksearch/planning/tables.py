"""The candidates of a layer: every decomposition at every rank that could be useful, with cost and error.

A few ranks of each form are fitted; the errors between them are interpolated along the spectra. A candidate
whose factors are requested is fitted then, from scratch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from glob import escape

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ranksearch.calibration import Columns, ErrorKind, Whitened, kernel_error
from ranksearch.costs import ALWAYS, INT8_BYTES, Cost, computed, layer_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, expected
from ranksearch.networks import Layer, reconstruct, unmatched
from ranksearch.planning.fits import Effort, fit_candidate
from ranksearch.planning.plan import DENSE, Candidate, Table
from ranksearch.planning.rank_paths import RankLimits, RankPath, rank_path
from ranksearch.planning.refinement import Fit

AUTO = "auto"
"""A rank multiple that is measured on the runtime whose time counts."""

_EXACT = 1e-6
"""Relative ε below which a fit counts as exact."""

_FAR = 1.4
"""A form is beaten if another one has an ε smaller by this factor."""


def usual_multiple(metrics: Sequence[str]) -> tuple[tuple[str, int | str], ...]:
    """What ranks are multiples of if nothing is said: 1, or 8 where one of the cost metrics is measured."""
    return (("*", 8 if computed(metrics) != tuple(metrics) else 1),)


@dataclass(frozen=True, kw_only=True)
class CandidateConfig(Effort):
    """Which candidates may be proposed.

    rank_multiple: pairs of a layer pattern and a number; the ranks of matching layers are multiples of it, and the
    last pattern that matches counts; in place of a number `AUTO` has it measured. fits_per_form: the number of ranks of
    each form that are fitted; the errors at the others are interpolated. error: which error is fitted and compared, see
    `simplify`. metrics: the cost metrics that candidates have a value for, see `counted`. pruned: whether dominated
    candidates are left out; they are kept where times are added later.
    """

    decompositions: tuple[str, ...] = field(default_factory=DECOMPOSITIONS.usable)
    min_rank: int = 1
    rank_multiple: tuple[tuple[str, int | str], ...] = (("*", 1),)
    fits_per_form: int = 6
    iterations: int = 60
    fit_flops: float = 2e10
    error: ErrorKind = "fisher"
    metrics: tuple[str, ...] = ALWAYS
    pruned: bool = True

    def __post_init__(self) -> None:
        for what, value in (
            ("min_rank", self.min_rank),
            *(("rank_multiple", m) for _, m in self.rank_multiple if m != AUTO),
        ):
            if not isinstance(value, int) or value < 1:
                raise InputError(expected(what, "a whole number, 1 or more", value))
        if INT8_BYTES in self.metrics and computed(self.metrics) != self.metrics:
            wanted = f"{INT8_BYTES} or a time"
            raise InputError(expected("metric", wanted, "both", "Layers in int8 are not timed one by one."))
        if self.measures_multiples and computed(self.metrics) == self.metrics:
            wanted, way_out = "a whole number", "It is measured only where a budget or limit is one of time."
            raise InputError(expected("rank_multiple", wanted, AUTO, way_out))

    def check(self, layers: Sequence[Layer]) -> None:
        """Raises InputError if a pattern of rank_multiple matches none of the layers."""
        for pattern, _ in self.rank_multiple:
            if not any(fnmatchcase(layer.name, pattern) for layer in layers):
                raise unmatched("rank_multiple", pattern, layers)

    @property
    def measures_multiples(self) -> bool:
        """Whether some rank multiple is to be measured."""
        return any(multiple == AUTO for _, multiple in self.rank_multiple)

    def with_multiples(self, measured: Mapping[str, int]) -> CandidateConfig:
        """The same with measured rank multiples, by layer name, where they are asked for."""
        asked = [name for name in measured if self._multiple(name) == AUTO]
        own = tuple((escape(name), measured[name]) for name in asked)
        stated = tuple((pattern, m) for pattern, m in self.rank_multiple if m != AUTO)
        return replace(self, rank_multiple=(*stated, *own))

    def multiple(self, name: str) -> int:
        """The number that the ranks of a layer are multiples of."""
        found = self._multiple(name)
        assert isinstance(found, int), "it is measured first"
        return found

    def _multiple(self, name: str) -> int | str:
        return next((m for pattern, m in reversed(self.rank_multiple) if fnmatchcase(name, pattern)), 1)

    def ranks_of(self, layer: Layer) -> RankLimits:
        """Which ranks a layer may have."""
        return RankLimits(self.min_rank, self.multiple(layer.name))


def layer_candidates(
    layer: Layer,
    whitened: Whitened,
    config: CandidateConfig,
    held_out: Callable[[Fit], float] | None = None,
) -> Table:
    """The table of a layer.

    `held_out` maps a fit to its ε on moments that it was not fitted to; if given, that error is used.
    Once another form beats a form at the cost of a fit, the next, more expensive one is not refined: these fits take
    most of the time, and plans rarely use them.
    """
    forms = [
        _Form(name, form, path, _nodes(path.costs, config.fits_per_form))
        for name in config.decompositions
        for form in DECOMPOSITIONS.get(name).forms(layer)
        if (path := _path(layer, name, form, whitened, config)).ranks
    ]
    rough = replace(config, iterations=0)
    for place in range(config.fits_per_form):
        for own in forms:
            if place < len(own.nodes):
                beaten = place > 0 and _beaten(own, forms)
                own.fits.append(
                    fit_candidate(
                        whitened,
                        layer,
                        DECOMPOSITIONS.get(own.name),
                        own.form,
                        own.path.ranks[own.nodes[place]],
                        own.fits,
                        config=rough if beaten else config,
                    )
                )
    candidates = [Candidate(DENSE, "", (), layer_cost(layer, config.metrics), 0.0)]
    for own in forms:
        fitted = [held_out(fit) if held_out else fit.error for fit in own.fits]
        errors = _interpolate(own.path, own.nodes, fitted, _EXACT * whitened.scale)
        candidates += [
            Candidate(own.name, own.form, ranks, cost, float(error))
            for ranks, cost, error in zip(own.path.ranks, own.path.costs, errors, strict=True)
        ]
    return Table(layer, pareto(candidates) if config.pruned else tuple(candidates), whitened.scale)


def _path(layer: Layer, name: str, form: str, whitened: Whitened, config: CandidateConfig) -> RankPath:
    decomposition, allowed = DECOMPOSITIONS.get(name), config.ranks_of(layer)
    return rank_path(layer, decomposition, form, whitened, allowed, config.metrics)


@dataclass(frozen=True)
class _Form:
    """A form that is being fitted: its ranks, the indices of those to fit, by rising cost, and the fits so far."""

    name: str
    form: str
    path: RankPath
    nodes: list[int]
    fits: list[Fit] = field(default_factory=list)

    def points(self, metric: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Logarithms of cost and ε of the fits so far, by rising cost."""
        costs = np.log([self.path.costs[node].of(metric) for node in self.nodes[: len(self.fits)]])
        errors = np.log(np.maximum([fit.error for fit in self.fits], np.finfo(float).tiny))
        order = np.argsort(costs)
        return costs[order], errors[order]


def _beaten(own: _Form, forms: Sequence[_Form]) -> bool:
    """Whether others have a far smaller ε at the cost of its most expensive fit so far, in parameters and FLOPs."""
    others = [other for other in forms if other is not own and other.fits]

    def beaten_in(metric: str) -> bool:
        costs, errors = own.points(metric)
        return any(
            np.interp(costs[-1], *other.points(metric), left=np.inf) + np.log(_FAR) < errors[-1]
            for other in others
        )

    return all(map(beaten_in, ALWAYS))


def _nodes(costs: Sequence[Cost], count: int) -> list[int]:
    """Indices of `count` ranks, geometrically spaced in parameters, including both ends."""
    params = np.array([cost.params for cost in costs], dtype=float)
    goals = np.geomspace(params[0], params[-1], count)
    return sorted({int(np.argmin(np.abs(np.log(params) - np.log(goal)))) for goal in goals})


def _interpolate(
    path: RankPath, nodes: Sequence[int], fitted: Sequence[float], floor: float
) -> NDArray[np.float64]:
    """ε of all ranks: the spectral estimate times its correction at the fitted ranks, linear in log cost.

    Errors and estimates below `floor` count as exact: their ratio says nothing about the ranks in between.
    """
    floor = max(floor, float(np.finfo(float).tiny))  # a kernel of zeros has only zero errors
    x = np.log([cost.params for cost in path.costs])
    tails = np.maximum(path.tails, floor)
    ratio = np.log(np.maximum(fitted, floor)) - np.log(tails[list(nodes)])
    errors = tails * np.exp(np.interp(x, x[list(nodes)], ratio))
    errors[list(nodes)] = fitted
    return np.asarray(errors)


def pareto(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The candidates that no other dominates in the error and all cost metrics, and the dense layer, by rising cost."""

    def point(candidate: Candidate) -> tuple[float, ...]:
        return (*candidate.cost.amounts.values(), candidate.error)

    rows = sorted(candidates, key=point)
    keep = {*_front(np.array([point(candidate) for candidate in rows]))}
    return tuple(row for k, row in enumerate(rows) if k in keep or (row.is_dense and not row.int8))


def _front(points: NDArray[np.float64]) -> list[int]:
    """Indices of the rows that no earlier row dominates or equals; rows sorted lexicographically."""
    keep: list[int] = []
    for k, point in enumerate(points):
        if not keep or not bool((points[keep] <= point).all(axis=1).any()):
            keep.append(k)
    return keep


def held_out_error(
    kernel: Tensor, whitened: Whitened, A: Tensor | Columns | None, G: Tensor | Columns | None
) -> Callable[[Fit], float]:
    """ε of fits on other moments: kernel (O, I, …), A (n, n), G (O, O); None stands for the identity.

    Single precision is enough for moments, which are estimates; the differences of kernels are exact.
    """
    A, G = _single(A), _single(G)

    def error(fit: Fit) -> float:
        factors = whitened.to_layer(fit.chain, fit.factors)
        if isinstance(A, Columns) and len(factors) == 2 and not fit.chain[1].axes:
            # A low-rank product, whose kernel would take longer to write out than its outputs.
            outputs = factors[1].float() @ (factors[0].float().flatten(1) @ A.X)
            return kernel_error(dense_outputs, outputs, None, G)
        return kernel_error(kernel, reconstruct(fit.chain, factors, kernel.shape[2:]), A, G)

    dense_outputs = kernel.flatten(1) @ A.X if isinstance(A, Columns) else kernel
    return error


def _single(moments: Tensor | Columns | None) -> Tensor | Columns | None:
    return moments.float() if isinstance(moments, Tensor) else moments
