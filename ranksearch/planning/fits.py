"""Fits of single candidates: their factors, refined within an effort limit, computed on first use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor

from ranksearch.calibration import Whitened
from ranksearch.decompositions import DECOMPOSITIONS, Decomposition, Ranks
from ranksearch.networks import Factors, Layer, algebra_threads
from ranksearch.planning.plan import Candidate
from ranksearch.planning.refinement import Fit, fits_into, pad, refine


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
    _fits: dict[tuple[str, str, str, Ranks], Fit] = field(default_factory=dict)

    def whitened(self, name: str) -> Whitened:
        """The whitened kernel of a layer."""
        if name not in self._whitened:
            self._whitened[name] = self.whiten(name)
        return self._whitened[name]

    def fit(self, layer: Layer, candidate: Candidate) -> Fit:
        """A candidate's fit in whitened coordinates."""
        name, form, ranks = candidate.decomposition, candidate.form, candidate.ranks
        key = (layer.name, name, form, ranks)
        if key not in self._fits:
            with algebra_threads(layer.fan_in):
                self._fits[key] = fit_candidate(
                    self.whitened(layer.name),
                    layer,
                    DECOMPOSITIONS.get(name),
                    form,
                    ranks,
                    config=self.config,
                )
        return self._fits[key]

    def factors(self, layer: Layer, candidate: Candidate) -> tuple[Tensor, ...]:
        """Weights of a candidate's chain for the layer's own inputs and outputs, float32."""
        return self.fit(layer, candidate).weights(self.whitened(layer.name))


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

    Since smaller fits are contained in larger ones, ε does not rise as ranks grow along `known`.
    """
    chain = decomposition.chain(layer, form, ranks)
    closed = decomposition.closed_form
    fresh = decomposition.init(whitened, form, ranks) if closed or start is None else start
    iterations = 0 if closed else config.iterations
    fitted = refine(whitened, chain, fresh, iterations=iterations, flops=config.fit_flops)
    kernel_size = whitened.kernel.shape[2:]
    contained = [fit for fit in known if fits_into(fit.chain, chain)]
    best = min(contained, key=lambda fit: fit.error, default=fitted)
    if best.error < fitted.error:
        return Fit(chain, pad(best.chain, chain, best.factors, kernel_size), best.error)
    return fitted
