"""Candidates: their costs, their errors, and the factors that they are given on demand."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from ranksearch.calibration import Whitened, kernel_error, whiten
from ranksearch.costs import ALWAYS, Cost, chain_cost, layer_cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError
from ranksearch.networks import Layer, discover, reconstruct
from ranksearch.planning import Candidate, CandidateConfig, Effort, fit_candidate, prepare
from ranksearch.planning.fits import Fits
from ranksearch.planning.rank_paths import RankLimits, rank_path
from ranksearch.planning.tables import layer_candidates, pareto
from ranksearch.tasks import Task


def spd(size: int, seed: int) -> Tensor:
    rows = torch.randn(size, 2 * size, generator=torch.Generator().manual_seed(seed)).double()
    rows *= torch.logspace(0, -2, size).double()[:, None]
    return rows @ rows.T / (2 * size)


def smooth_kernel(dead: int = 0) -> Tensor:
    """A kernel with a falling spectrum, its last `dead` output channels zero."""
    generator = torch.Generator().manual_seed(0)
    left, values, right = torch.linalg.svd(torch.randn(16, 72, generator=generator), full_matrices=False)
    kernel = ((left * values * torch.logspace(0, -2, 16)) @ right).reshape(16, 8, 3, 3)
    if dead:
        kernel[-dead:] = 0
    return kernel


@pytest.fixture
def layer() -> Layer:
    (layer,) = discover(nn.Conv2d(8, 16, 3, stride=2), torch.zeros(1, 8, 9, 9))
    return layer


@pytest.fixture
def white() -> Whitened:
    return whiten(smooth_kernel(), spd(72, 1), spd(16, 2))


@pytest.mark.parametrize("dead", [0, 3])
def test_interpolated_errors_of_svd_are_exact(layer: Layer, dead: int) -> None:
    """Also next to a rank at which the kernel is already reproduced, as with dead channels."""
    white = whiten(smooth_kernel(dead), spd(72, 1), spd(16, 2))
    config = CandidateConfig(decompositions=("svd",), fits_per_form=3)
    table = layer_candidates(layer, white, config)
    svd = DECOMPOSITIONS.get("svd")
    for candidate in table.candidates[:-1]:
        exact = white.error(svd.chain(layer, "", candidate.ranks), svd.init(white, "", candidate.ranks))
        assert candidate.error == pytest.approx(exact, rel=0.02, abs=2e-6 * white.scale)


@pytest.mark.parametrize("name", ["spatial_svd", "tucker2", "cp", "tensor_train"])
def test_interpolated_errors_are_near_the_fitted(layer: Layer, white: Whitened, name: str) -> None:
    config = CandidateConfig(decompositions=(name,))
    table = layer_candidates(layer, white, config)
    assert len(table.candidates) >= 12
    for candidate in table.candidates[:-1]:
        decomposition = DECOMPOSITIONS.get(candidate.decomposition)
        fitted = fit_candidate(
            white, layer, decomposition, candidate.form, candidate.ranks, config=config
        ).error
        assert fitted / 2 - 1e-5 * white.scale <= candidate.error <= fitted * 2 + 1e-5 * white.scale


def test_tables_are_pareto_fronts_with_the_dense_layer(layer: Layer, white: Whitened) -> None:
    table = layer_candidates(layer, white, CandidateConfig())
    assert sum(c.is_dense for c in table.candidates) == 1
    for a in table.candidates:
        if not a.is_dense:
            chain = DECOMPOSITIONS.get(a.decomposition).chain(layer, a.form, a.ranks)
            assert a.cost == chain_cost(layer, chain)
        for b in table.candidates:
            no_worse = a.cost.params <= b.cost.params and a.cost.flops <= b.cost.flops and a.error <= b.error
            assert a is b or not no_worse


def test_pareto_by_hand() -> None:
    def make(params: int, flops: int, error: float) -> Candidate:
        return Candidate("svd", "", (params,), Cost(params=params, flops=flops), error)

    best = [make(1, 5, 0.9), make(2, 4, 0.9), make(3, 6, 0.1)]
    assert pareto([make(3, 7, 0.1), *best, make(2, 5, 0.9)]) == tuple(best)


def test_options_bound_the_ranks(layer: Layer, white: Whitened) -> None:
    config = CandidateConfig(min_rank=3, rank_multiple=(("*", 4), ("other", 1)))
    table = layer_candidates(layer, white, config)
    assert len(table.candidates) > 3
    assert all(rank >= 3 and rank % 4 == 0 for c in table.candidates for rank in c.ranks)
    only = CandidateConfig(decompositions=("svd",), rank_multiple=(("*", 4), (layer.name, 1)))
    assert (1,) in {c.ranks for c in layer_candidates(layer, white, only).candidates}


def test_ranks_of_a_single_decomposition_are_all_there(layer: Layer, white: Whitened) -> None:
    """So that a candidate's place is its rank."""
    table = layer_candidates(layer, white, CandidateConfig(decompositions=("svd",)))
    ranks = [c.ranks[0] for c in table.candidates if not c.is_dense]
    assert ranks == list(range(1, len(ranks) + 1))


@pytest.mark.parametrize("name", DECOMPOSITIONS.usable())
def test_every_decomposition_spans_from_tiny_to_nearly_dense(
    layer: Layer, white: Whitened, name: str
) -> None:
    decomposition = DECOMPOSITIONS.get(name)
    for form in decomposition.forms(layer):
        path = rank_path(layer, decomposition, form, white, RankLimits(1, 1), ALWAYS)
        kept = [cost.params / layer_cost(layer).params for cost in path.costs]
        assert kept == sorted(kept)
        assert min(kept) < 0.12
        assert max(kept) > 0.85
        for smaller, larger in pairwise(path.ranks):
            assert all(a <= b for a, b in zip(smaller, larger, strict=True))


def test_factors_do_not_depend_on_what_was_asked_before(layer: Layer, white: Whitened) -> None:
    table = layer_candidates(layer, white, CandidateConfig(decompositions=("cp",)))
    wanted = [c for c in table.candidates if not c.is_dense][2:9:2]
    first, second = (Fits(lambda name: white, CandidateConfig(iterations=5)) for _ in range(2))
    forward = [first.factors(layer, c) for c in wanted]
    backward = [second.factors(layer, c) for c in reversed(wanted)][::-1]
    for a, b in zip(forward, backward, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_factors_stand_for_the_error_that_is_stated(layer: Layer) -> None:
    """At fitted ranks; in between it is an estimate."""
    A, G, kernel = spd(72, 1), spd(16, 2), smooth_kernel()
    white = whiten(kernel, A, G)
    config = CandidateConfig(decompositions=("tucker2",))
    candidate = layer_candidates(layer, white, config).candidates[0]
    factors = Fits(lambda name: white, config).factors(layer, candidate)
    chain = DECOMPOSITIONS.get("tucker2").chain(layer, candidate.form, candidate.ranks)
    rebuilt = reconstruct(chain, factors, (3, 3))
    assert candidate.error == pytest.approx(kernel_error(kernel, rebuilt, A, G), rel=1e-3)


def test_a_smaller_fit_is_never_thrown_away(layer: Layer, white: Whitened) -> None:
    cp = DECOMPOSITIONS.get("cp")
    good = fit_candidate(white, layer, cp, "joint", (6,), config=Effort(iterations=100, fit_flops=1e12))
    larger = fit_candidate(white, layer, cp, "joint", (7,), [good], config=Effort(iterations=0, fit_flops=0))
    assert larger.error <= good.error
    assert larger.chain == cp.chain(layer, "joint", (7,))


def test_patterns_that_match_nothing_and_multiples_of_nothing_are_refused(tiny_task: Task) -> None:
    with pytest.raises(
        InputError, match=r"rank_multiple: expected a pattern that matches a layer, got 'layer9\.\*'"
    ):
        prepare(tiny_task, config=CandidateConfig(rank_multiple=(("*", 1), ("layer9.*", 4))))
    with pytest.raises(InputError, match="min_rank: expected a whole number, 1 or more, got 0"):
        CandidateConfig(min_rank=0)
    with pytest.raises(InputError, match="rank_multiple: expected a whole number, 1 or more, got 0"):
        CandidateConfig(rank_multiple=(("*", 0),))
