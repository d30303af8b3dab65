"""Each method on cases small enough to be worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from ranksearch.calibration import whiten
from ranksearch.costs import Budget, Cost, layer_cost
from ranksearch.networks import Layer
from ranksearch.networks.layers import Call
from ranksearch.planning import Candidate, CandidateConfig, Choice, Problem, Table, layer_front
from ranksearch.planning.fits import Fits
from ranksearch.planning.plan import DENSE
from ranksearch.planning.tables import layer_candidates
from ranksearch.searching.baselines import ALLOCATORS, Context, Evaluations
from ranksearch.searching.baselines.aimet import aimet, monotone, rungs
from ranksearch.searching.baselines.alds import alds, relative_norms
from ranksearch.searching.baselines.balf import balf
from ranksearch.searching.baselines.bayes_layer import bayes_layer
from ranksearch.searching.baselines.evbmf import evbmf, needed_factors
from ranksearch.searching.baselines.fwsvd import fwsvd, row_weighted
from ranksearch.searching.baselines.lc import lc
from ranksearch.searching.baselines.published import prepare_published
from ranksearch.searching.baselines.vbmf import threshold
from ranksearch.tasks import Task

# ---- tables by hand ----


def table(name: str, points: Sequence[tuple[int, float]], dense: int, scale: float = 1.0) -> Table:
    """A layer of `dense` parameters with SVD candidates of these (parameters, error)."""
    layer = Layer(name, "linear", dense, 1, (), (), (), (), "zeros", 1, False, (Call((), ()),))
    found = [Candidate("svd", "", (k,), Cost(params=p, flops=p), e) for k, (p, e) in enumerate(points, 1)]
    return Table(layer, (*found, Candidate(DENSE, "", (), layer_cost(layer), 0.0)), scale)


def context(
    base: Problem, tables: Sequence[Table], limit: int, evaluate: Evaluations | None = None
) -> Context:
    dense = sum((t.dense for t in tables), Cost(params=0, flops=0))
    problem = replace(base, tables=tuple(tables), layers=tuple(t.layer for t in tables), dense=dense)
    return Context(problem, Budget.at_most(problem.dense, limit), evaluate or Evaluations(lambda choice: 0.0))


def test_lc_by_hand(tiny_problem: Problem) -> None:
    a = table("a", [(10, 100.0), (50, 50.0)], 100)
    b = table("b", [(20, 340.0), (80, 40.0)], 120)
    # Error saved per cost: of b 300/60 = 5, then 40/40 = 1; of a 50/40 = 1.25, then 50/50 = 1.
    assert lc(context(tiny_problem, [a, b], 30)) == (0, 0)
    assert lc(context(tiny_problem, [a, b], 90)) == (0, 1)
    assert lc(context(tiny_problem, [a, b], 130)) == (1, 1)
    # 129 does not hold the next step of a (130); what is left, 39, holds none of b's (40) either.
    assert lc(context(tiny_problem, [a, b], 129)) == (0, 1)
    assert lc(context(tiny_problem, [a, b], 220)) == (2, 2)


def test_lc_is_the_minimum_for_one_price(full_problem: Problem) -> None:
    """Where nothing is left to spend, each layer minimises error + λ · cost for a common λ."""
    prices = np.geomspace(1e-9, 1e3, 60)
    for price in prices:
        wanted = tuple(int(np.argmin(t.errors() + price * t.costs("params"))) for t in full_problem.tables)
        limit = full_problem.plan(wanted).cost.params
        found = lc(
            Context(full_problem, Budget.at_most(full_problem.dense, limit), Evaluations(lambda choice: 0.0))
        )
        assert full_problem.plan(found).error <= full_problem.plan(wanted).error * (1 + 1e-12)


def test_balf_weighs_layers_by_their_energy(tiny_problem: Problem) -> None:
    # The same curves, but the second layer's energy is a hundred times the first's.
    a = table("a", [(10, 1.0), (60, 0.4)], 100, scale=2.0)
    b = table("b", [(10, 50.0), (60, 20.0)], 100, scale=200.0)
    # Per energy: a saves 0.3 for 50, b 0.15 for 50; in absolute terms b would come first.
    assert balf(context(tiny_problem, [a, b], 70)) == (1, 0)
    assert lc(context(tiny_problem, [a, b], 70)) == (0, 1)


def test_aimet_by_hand(tiny_problem: Problem) -> None:
    ten = [(k * 10, 1.0 - k / 10) for k in range(1, 10)]
    tables = [table("a", ten, 100), table("b", ten, 100)]
    # Scores at 0.1 … 0.9; a's at 0.4 is worse than at 0.3, and is taken for no worse.
    scores = [
        [9.0, 5.0, 3.0, 4.0, 2.0, 1.5, 1.0, 0.5, 0.2],
        [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1],
    ]
    asked: list[Choice] = []

    def score(choice: Choice) -> float:
        asked.append(choice)
        assert sum(k != 9 for k in choice) == 1  # one layer at a time
        layer = 0 if choice[0] != 9 else 1
        return scores[layer][choice[layer]]

    # Threshold 1 (≤): a needs 0.7, b 0.1: 80 in all.
    assert aimet(context(tiny_problem, tables, 80, Evaluations(score))) == (6, 0)
    assert len(asked) == 18
    # Threshold 0.5: a 0.8, b 0.5: 130. Threshold 3: a 0.3, b 0.1.
    assert aimet(context(tiny_problem, tables, 130, Evaluations(score))) == (7, 4)
    assert aimet(context(tiny_problem, tables, 40, Evaluations(score))) == (2, 0)


def test_aimet_scores_are_made_monotone() -> None:
    assert monotone([9.0, 5.0, 3.0, 4.0, 2.0]).tolist() == [9, 5, 3, 3, 2]
    assert monotone([float("inf"), float("nan"), 1.0]).tolist() == [1e9, 1e9, 1]


def test_aimet_evaluates_at_nine_ratios() -> None:
    fine = table("a", [(k, 1 - k / 1000) for k in range(5, 1000, 5)], 1000)
    front = layer_front(fine, "params")
    assert front.costs[rungs(front, 1000)].tolist() == [5, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000]


def test_bayes_layer_spends_where_the_model_says(tiny_problem: Problem) -> None:
    """ε is the same for both layers; measured, only the second one matters."""
    curve = [(k * 10, 1.0 - k / 10) for k in range(1, 10)]
    tables = [table("a", curve, 100), table("b", curve, 100)]

    def score(choice: Choice) -> float:
        return (9 - choice[0]) * 0.01 + (9 - choice[1]) * 1.0

    found = bayes_layer(context(tiny_problem, tables, 110, Evaluations(score)))
    assert found == (0, 9)


def test_optuna_finds_what_uniform_misses(tiny_problem: Problem) -> None:
    curve = [(k * 10, 1.0 - k / 10) for k in range(1, 10)]
    tables = [table("a", curve, 100), table("b", curve, 100)]

    def score(choice: Choice) -> float:
        return (9 - choice[0]) * 0.01 + (9 - choice[1]) * 1.0

    uniform = score(ALLOCATORS.get("uniform").allocate(context(tiny_problem, tables, 110)))
    for name in ("optuna_tpe", "optuna_nsgaii", "optuna_random"):
        found = ALLOCATORS.get(name).allocate(context(tiny_problem, tables, 110, Evaluations(score)))
        assert score(found) < uniform


# ---- kernels by hand ----


def kernel_problem(base: Problem, kernels: Sequence[torch.Tensor], A: torch.Tensor | None = None) -> Problem:
    """Linear layers with these kernels (O, I), candidates of the SVD."""
    tables, whitened = [], {}
    config = CandidateConfig(decompositions=("svd",), fits_per_form=8)
    for k, kernel in enumerate(kernels):
        o, i = kernel.shape
        layer = Layer(f"l{k}", "linear", i, o, (), (), (), (), "zeros", 1, False, (Call((), ()),))
        whitened[layer.name] = whiten(kernel, A)
        tables.append(layer_candidates(layer, whitened[layer.name], config))
    dense = sum((t.dense for t in tables), Cost(params=0, flops=0))
    layers = tuple(t.layer for t in tables)
    return replace(
        base, tables=tuple(tables), layers=layers, dense=dense, fits=Fits(whitened.__getitem__, config)
    )


def with_values(values: Sequence[float], size: int) -> torch.Tensor:
    """A size × size kernel with these singular values, the others 0."""
    generator = torch.Generator().manual_seed(len(values))
    left, right = (torch.linalg.qr(torch.randn(size, size, generator=generator).double())[0] for _ in "ab")
    return left[:, : len(values)] @ torch.diag(torch.tensor(values).double()) @ right[: len(values)]


def ranks_of(problem: Problem, choice: Choice) -> list[tuple[int, ...]]:
    return [c.ranks for c in problem.plan(choice).choices.values()]


def test_alds_by_hand(tiny_problem: Problem) -> None:
    # σ_{r+1} / σ_1 of a: 0.8, 0.5, 0.1, 0.05 at ranks 1, 2, 3, 4; of b: 0.6, 0.3, 0.2, 0.15.
    a = with_values([10, 8, 5, 1, 0.5], 12)
    b = with_values([2, 1.2, 0.6, 0.4, 0.3], 12)
    problem = kernel_problem(tiny_problem, [a, b])
    found = relative_norms(problem, problem.tables[0])[:4]
    np.testing.assert_allclose(np.sqrt(found), [0.8, 0.5, 0.1, 0.05], rtol=1e-6)
    # A rank costs 24 parameters. Three ranks: (2, 1) reaches max 0.6, (1, 2) only 0.8. Five: (3, 2) 0.3; (2, 3) 0.5.
    for ranks, wanted in ((2, [1, 1]), (3, [2, 1]), (4, [2, 2]), (5, [3, 2]), (6, [3, 3])):
        context = Context(problem, Budget.at_most(problem.dense, 24 * ranks), Evaluations(lambda choice: 0.0))
        assert [r for (r,) in ranks_of(problem, alds(context))] == wanted


def test_relative_norms_of_other_decompositions_are_between_fits(full_problem: Problem) -> None:
    """The spectral norm squared lies between 2ε / rank and 2ε, whatever left it."""
    for t in full_problem.tables:
        white = full_problem.fits.whitened(t.layer.name)
        top = float(white.output_energies[0])
        norms = relative_norms(full_problem, t) * top
        for candidate, norm in zip(t.candidates, norms, strict=True):
            assert norm <= 2 * candidate.error * 1.1 + 1e-9 * top
            if not candidate.is_dense:
                assert norm >= 2 * candidate.error / min(len(white.kernel), t.layer.fan_in) * 0.9


def test_evbmf_by_hand(tiny_problem: Problem) -> None:
    generator = torch.Generator().manual_seed(0)
    size = 40
    noise = 0.01 * torch.randn(size, size, generator=generator).double()
    kernels = [with_values([9, 8, 7], size) + noise, with_values([5, 4, 3, 2, 1], size) + noise]
    problem = kernel_problem(tiny_problem, kernels)
    planted = 80 * (3 + 5)
    found = evbmf(Context(problem, Budget.at_most(problem.dense, planted), Evaluations(lambda choice: 0.0)))
    assert ranks_of(problem, found) == [(3,), (5,)]
    # Weakened: singular values over threshold go in order, and both thresholds are nearly the same.
    for ranks, wanted in ((7, [3, 4]), (6, [3, 3]), (4, [3, 1]), (2, [1, 1])):
        context = Context(problem, Budget.at_most(problem.dense, 80 * ranks), Evaluations(lambda choice: 0.0))
        assert [r for (r,) in ranks_of(problem, evbmf(context))] == wanted
    values = torch.linalg.svdvals(kernels[0]).numpy()
    factors = needed_factors(problem, problem.tables[0])
    assert factors[0] == pytest.approx(values[1] / threshold(values, size, size), rel=1e-6)
    assert factors[-1] == 0


def test_evbmf_of_tucker2_looks_at_both_unfoldings(full_problem: Problem) -> None:
    t = full_problem.tables[1]
    white = full_problem.fits.whitened(t.layer.name)
    kernel = white.kernel
    cuts = kernel.movedim(1, 0).flatten(1), kernel.flatten(1)
    factors = needed_factors(full_problem, t)
    checked = 0
    for candidate, factor in zip(t.candidates, factors, strict=True):
        if candidate.decomposition == "tucker2":
            wanted = 0.0
            for cut, rank in zip(cuts, candidate.ranks, strict=True):
                values = torch.linalg.svdvals(cut).numpy()
                left = values[rank] if rank < len(values) else 0.0
                wanted = max(wanted, left / threshold(values, *cut.shape))
            assert factor == pytest.approx(wanted)
            checked += 1
    assert checked


def test_fwsvd_weighs_inputs(tiny_problem: Problem) -> None:
    # Two inputs carry the kernel; the second one's activations are a hundred times as strong.
    kernel = torch.zeros(6, 6).double()
    kernel[0, 0], kernel[1, 1], kernel[2, 2] = 3.0, 2.0, 0.1
    A = torch.diag(torch.tensor([1.0, 100.0, 1.0, 1.0, 1.0, 1.0]).double())
    problem = kernel_problem(tiny_problem, [kernel], A)
    white = problem.fits.whitened("l0")
    table = problem.tables[0]
    fits = [problem.fits.fit(table.layer, c) for c in table.candidates if not c.is_dense]
    errors = [row_weighted(white, fit) for fit in fits]
    # Rank 1 keeps the entry 2 · 10, and leaves ½ (9 + 0.01); rank 2 leaves ½ · 0.01.
    assert errors[:2] == pytest.approx([4.505, 0.005], rel=1e-4)
    found = fwsvd(Context(problem, Budget.at_most(problem.dense, 12), Evaluations(lambda choice: 0.0)))
    assert ranks_of(problem, found) == [(1,)]


def test_published_candidates_are_of_the_first_decomposition_that_applies(tiny_task: Task) -> None:
    config = replace(ALLOCATORS.get("evbmf").published, fits_per_form=3)
    problem = prepare_published(tiny_task, config)
    kinds = {t.layer.name: {c.decomposition for c in t.candidates if not c.is_dense} for t in problem.tables}
    assert kinds == {"0": {"tucker2"}, "3": {"tucker2"}, "8": {"svd"}}
    choice = evbmf(
        Context(
            problem, Budget.at_most(problem.dense, problem.dense.params // 2), Evaluations(lambda choice: 0.0)
        )
    )
    plan = problem.plan(choice)
    model = problem.build(plan)
    assert sum(p.numel() for p in model.parameters()) == plan.cost.params
    for name, kernel in tiny_task.model.named_parameters():
        if name == "8.weight":
            values = torch.linalg.svdvals(kernel.detach())
            t = problem.tables[2]
            for c in t.candidates[:-1]:
                tail = 0.5 * float(values[c.ranks[0] :].square().sum())
                assert c.error == pytest.approx(tail, rel=1e-4, abs=1e-9)
