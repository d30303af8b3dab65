"""Fits of single candidates: their factors, refined within an effort limit, computed on first use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ranksearch.calibration import Whitened
from ranksearch.decompositions import DECOMPOSITIONS, Decomposition, Ranks
from ranksearch.networks import Chain, Factors, Layer, algebra_threads, by_group, joined, narrowed
from ranksearch.planning.plan import Candidate
from ranksearch.planning.refinement import Fit, balance, fits_into, pad, refine

_KEPT_BYTES = 2**30
"""Whitened kernels are kept up to this size in all: those of a large network would take several times its memory."""


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How thoroughly a candidate is fitted: steps of refinement, and a limit on their total FLOPs."""

    iterations: int
    fit_flops: float


@dataclass
class Fits:
    """Fits of candidates, computed on first use; they do not depend on the order of requests.

    `whiten` gives the whitened kernel of a layer by name, `config` the effort.
    """

    whiten: Callable[[str], Whitened]
    config: Effort
    _whitened: dict[str, Whitened] = field(default_factory=dict)
    """As many as `_KEPT_BYTES` allow, those that were asked for last."""
    _fits: dict[tuple[str, str, str, Ranks], Fit] = field(default_factory=dict)

    def whitened(self, name: str) -> Whitened:
        """The whitened kernel of a layer."""
        found = self._whitened.pop(name, None) or self.whiten(name)
        self._whitened[name] = found
        while len(self._whitened) > 1 and sum(each.nbytes for each in self._whitened.values()) > _KEPT_BYTES:
            del self._whitened[next(iter(self._whitened))]
        return found

    def fit(self, layer: Layer, candidate: Candidate) -> Fit:
        """A candidate's fit in whitened coordinates."""
        name, form, ranks = candidate.decomposition, candidate.form, candidate.ranks
        key = (layer.name, name, form, ranks)
        if key not in self._fits:
            decomposition = DECOMPOSITIONS.get(name)
            with algebra_threads(layer.fan_in):
                whitened = self.whitened(layer.name)
                fit = fit_candidate(whitened, layer, decomposition, form, ranks, config=self.config)
            whitened.forget()
            self._fits[key] = fit
        return self._fits[key]

    def factors(self, layer: Layer, candidate: Candidate) -> tuple[Tensor, ...]:
        """Weights of a candidate's chain for the layer's own inputs and outputs, float32."""
        if candidate.unused:
            return zeros_of(layer, candidate)
        return self.fit(layer, candidate).weights(self.whitened(layer.name))


def zeros_of(layer: Layer, candidate: Candidate) -> Factors:
    """The factors of a candidate whose layer's kernel does not matter."""
    chain = DECOMPOSITIONS.get(candidate.decomposition).chain(layer, candidate.form, candidate.ranks)
    return tuple(torch.zeros(factor.shape(layer.kernel_size)) for factor in chain)


def fit_candidate(
    whitened: Whitened,
    layer: Layer,
    decomposition: Decomposition,
    form: str,
    ranks: Ranks,
    known: Iterable[Fit] = (),
    *,
    config: Effort,
    start: Factors | None = None,
) -> Fit:
    """The best of a refined new fit, from `start` (whitened) if given, and the known fits at smaller ranks.

    Since smaller fits are contained in larger ones, ε does not rise as ranks grow along `known`. Groups of channels are
    fitted one by one, without a start.
    """
    chain = decomposition.chain(layer, form, ranks)
    if whitened.others:
        return _of_groups(whitened, layer, decomposition, form, ranks, known, config)
    if decomposition.closed_form:
        return _closed(whitened, decomposition, form, ranks, chain)
    fresh = decomposition.init(whitened, form, ranks) if start is None else start
    fitted = refine(whitened, chain, fresh, iterations=config.iterations, flops=config.fit_flops)
    kernel_size = whitened.kernel.shape[2:]
    contained = [fit for fit in known if fits_into(fit.chain, chain)]
    best = min(contained, key=lambda fit: fit.error, default=fitted)
    if best.error < fitted.error:
        return Fit(chain, pad(best.chain, chain, best.factors, kernel_size), best.error)
    return fitted


def fits_by_group(whitened: Whitened, fit: Fit) -> list[tuple[Whitened, Fit]]:
    """Each group of a layer by itself, with its part of a fit."""
    if not whitened.others:
        return [(whitened, fit)]
    chain = narrowed(fit.chain)
    each = zip(whitened.groups, by_group(fit.chain, fit.factors), strict=True)
    return [(own, Fit(chain, factors, own.error(chain, factors))) for own, factors in each]


def _of_groups(
    whitened: Whitened,
    layer: Layer,
    decomposition: Decomposition,
    form: str,
    ranks: Ranks,
    known: Iterable[Fit],
    config: Effort,
) -> Fit:
    """Each group fitted by itself; the errors add up."""
    smaller = list(zip(*(fits_by_group(whitened, fit) for fit in known), strict=True))
    fits = [
        fit_candidate(
            own,
            layer.group,
            decomposition,
            form,
            ranks,
            [fit for _, fit in smaller[k]] if smaller else [],
            config=config,
        )
        for k, own in enumerate(whitened.groups)
    ]
    chain = decomposition.chain(layer, form, ranks)
    return Fit(chain, joined([fit.factors for fit in fits]), sum(fit.error for fit in fits))


def _closed(whitened: Whitened, decomposition: Decomposition, form: str, ranks: Ranks, chain: Chain) -> Fit:
    """The fit of a decomposition that needs no refinement: its spectra say what ε is."""
    factors = tuple(f.to(whitened.kernel.dtype) for f in decomposition.init(whitened, form, ranks))
    left = [
        cut.energies[rank:].sum()
        for cut, rank in zip(decomposition.spectra(whitened, form), ranks, strict=True)
    ]
    return Fit(chain, balance(chain, factors), 0.5 * float(sum(left)))
