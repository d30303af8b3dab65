"""Wide layers: a few columns stand for A, and what is made of them agrees with the full matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ranksearch.calibration import Columns, Moments, NearDiagonal, Whitened, kernel_error, shrink, whiten
from ranksearch.calibration import moments as moments_module
from ranksearch.calibration.moments import collect_moments
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.decompositions.cp import mode_bases, principal_fibres
from ranksearch.networks import Layer, discover, reconstruct
from ranksearch.planning import CandidateConfig, Effort, fit_candidate
from ranksearch.planning.fits import Fits
from ranksearch.planning.tables import held_out_error, layer_candidates
from ranksearch.tasks import CROSS_ENTROPY

CPU = torch.device("cpu")
WEIGHT = 0.3


@pytest.fixture
def layer() -> Layer:
    (layer,) = discover(nn.Conv2d(4, 6, 3, padding=1), torch.zeros(1, 4, 7, 7))
    return layer


@pytest.fixture
def kernel() -> Tensor:
    return torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(0))


def columns(n: int = 36, r: int = 20) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, r, generator=generator) * torch.logspace(0, -1, n)[:, None] / r**0.5


def kronecker(X: Tensor) -> Tensor:
    """The Kronecker product of the modes' own moments, of a (4, 3, 3) kernel, written out."""
    rows = X.double().reshape(4, 3, 3, -1)
    inputs = torch.einsum("ihwr,jhwr->ij", rows, rows) / 9
    height = torch.einsum("ihwr,igwr->hg", rows, rows) / 12
    width = torch.einsum("ihwr,ihvr->wv", rows, rows) / 12
    height, width = height / height.diagonal().mean(), width / width.diagonal().mean()
    return torch.kron(torch.kron(inputs, height), width)


def test_the_metric_is_that_of_the_matrix_they_stand_for(kernel: Tensor, layer: Layer) -> None:
    X = columns()
    A = (1 - WEIGHT) * X.double() @ X.double().T + WEIGHT * kronecker(X)
    wide, full = whiten(kernel, Columns(X, WEIGHT)), whiten(kernel, A)
    assert wide.scale == pytest.approx(kernel_error(kernel, torch.zeros_like(kernel), A), rel=1e-5)
    for name in DECOMPOSITIONS.names():
        decomposition = DECOMPOSITIONS.get(name)
        for form in decomposition.forms(layer):
            ranks = tuple(2 for _ in decomposition.max_ranks(layer, form))
            chain = decomposition.chain(layer, form, ranks)
            effort = Effort(iterations=40, fit_flops=1e12)
            fit = fit_candidate(wide, layer, decomposition, form, ranks, config=effort)
            rebuilt = reconstruct(chain, wide.to_layer(chain, fit.factors), (3, 3))
            assert fit.error == pytest.approx(kernel_error(kernel, rebuilt, A), rel=1e-4)
            other = fit_candidate(full, layer, decomposition, form, ranks, config=effort)
            assert fit.error == pytest.approx(other.error, rel=0.1)


def test_error_on_columns_is_the_error_on_their_patches(kernel: Tensor) -> None:
    X, G = columns().double(), torch.diag(torch.arange(1.0, 7.0)).double()
    assert kernel_error(kernel, torch.zeros_like(kernel), Columns(X, 0.0), G) == pytest.approx(
        kernel_error(kernel, torch.zeros_like(kernel), X @ X.T, G)
    )


def test_a_wide_mode_is_whitened_by_its_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ranksearch.calibration.whitening._WIDE_MODE", 3)
    X = columns(12, 5)
    kernel = torch.randn(4, 12)
    A = (1 - WEIGHT) * X.double() @ X.double().T + WEIGHT * torch.diag(X.double().square().sum(1))
    values = torch.linalg.svdvals(kernel.double() @ torch.linalg.cholesky(A))
    wide = whiten(kernel, Columns(X, WEIGHT))
    torch.testing.assert_close(wide.output_energies, values.square(), rtol=1e-6, atol=1e-9)


def gradients(o: int = 6, r: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(o, r, generator=generator) * torch.logspace(0, -1, o)[:, None]


def full(G: Columns) -> Tensor:
    """The matrix that columns of gradients stand for, written out."""
    raw = G.X.double() @ G.X.double().T
    diagonal = G.weight * raw.diagonal() + 1e-4 * raw.diagonal().mean()
    return (1 - G.weight) * raw + torch.diag(diagonal)


def test_columns_of_gradients_are_the_matrix_they_stand_for(kernel: Tensor, layer: Layer) -> None:
    X = columns()
    A, G = X.double() @ X.double().T + 0.1 * torch.eye(36), Columns(gradients(), WEIGHT)
    few, whole = whiten(kernel, A, G), whiten(kernel, A, full(G))
    torch.testing.assert_close(few.output_energies, whole.output_energies)
    there, back = few.output_root
    assert isinstance(there, NearDiagonal)
    dense = there @ torch.eye(6).double()
    torch.testing.assert_close(dense.T @ dense, full(G))
    torch.testing.assert_close(back @ dense, torch.eye(6).double())
    assert there.energy == pytest.approx(float(full(G).trace()))
    for name in DECOMPOSITIONS.names():
        decomposition = DECOMPOSITIONS.get(name)
        for form in decomposition.forms(layer):
            ranks = tuple(2 for _ in decomposition.max_ranks(layer, form))
            chain = decomposition.chain(layer, form, ranks)
            fit = fit_candidate(
                few, layer, decomposition, form, ranks, config=Effort(iterations=40, fit_flops=1e12)
            )
            weights = few.to_layer(chain, fit.factors)
            rebuilt = reconstruct(chain, weights, (3, 3))
            assert fit.error == pytest.approx(kernel_error(kernel, rebuilt, A, full(G)), rel=1e-4)
            for one, other in zip(fit.factors, few.from_layer(chain, weights), strict=True):
                torch.testing.assert_close(one, other)
    raw = Columns(gradients(), 0.0)
    assert kernel_error(kernel, torch.zeros_like(kernel), A, raw) == pytest.approx(
        kernel_error(kernel, torch.zeros_like(kernel), A, raw.X @ raw.X.T), rel=1e-5
    )


@pytest.mark.parametrize("A", [None, Columns(columns(5, 3), WEIGHT), torch.diag(torch.arange(1.0, 6.0))])
def test_more_outputs_than_inputs_have_the_same_singular_values(A: Tensor | Columns | None) -> None:
    kernel = torch.randn(9, 5, generator=torch.Generator().manual_seed(3))
    white = whiten(kernel, A, spd(9))
    left, values, _ = torch.linalg.svd(white.root.weigh(white.kernel), full_matrices=False)
    torch.testing.assert_close(white.output_energies, values.square()[:5])
    for rank in range(1, 6):
        basis = white.output_basis[:, :rank]
        torch.testing.assert_close(basis @ basis.T, left[:, :rank] @ left[:, :rank].T)


def spd(size: int) -> Tensor:
    rows = torch.randn(size, 3 * size, generator=torch.Generator().manual_seed(4)).double()
    return rows @ rows.T / (3 * size)


@pytest.mark.parametrize("most", [2000, 400])
def test_many_outputs_are_collected_as_columns(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """All gradients where they are few; else sums whose second moments are the same on average."""
    torch.manual_seed(5)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 25, 5))
    x = torch.randn(64, 3, 7, 7)
    layers = discover(model, x[:1])
    exact = collect_moments(model, layers, x.split(16), CROSS_ENTROPY, seed=0, device=CPU)
    monkeypatch.setattr(moments_module, "WIDE_OUTPUTS", 3)
    monkeypatch.setattr("ranksearch.calibration.patches.COLUMNS", most)
    found = collect_moments(model, layers, x.split(16), CROSS_ENTROPY, seed=0, device=CPU)
    for layer in layers:
        own, wanted = found[layer.name].G, exact[layer.name].G
        assert isinstance(own, Columns)
        assert isinstance(wanted, Tensor)
        assert own.X.shape == (layer.out_channels, 64 if layer.kind == "linear" else min(64 * 25, most))
        estimate = (own.X @ own.X.T).double()
        exactly = layer.kind == "linear" or most >= 64 * 25
        assert float((estimate - wanted).norm() / wanted.norm()) < (1e-5 if exactly else 0.3)


def test_wide_layers_are_collected_as_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 49, 5))
    x = torch.randn(40, 4, 7, 7)
    layers = discover(model, x[:1])
    exact = collect_moments(model, layers, x.split(16), CROSS_ENTROPY, seed=0, device=CPU)
    monkeypatch.setattr(moments_module, "WIDE", 30)
    monkeypatch.setattr("ranksearch.calibration.patches.COLUMNS", 400)
    found = collect_moments(model, layers, x.split(16), CROSS_ENTROPY, seed=0, device=CPU)
    for layer in layers:
        own, wanted = found[layer.name], exact[layer.name]
        assert isinstance(own.A, Columns)
        assert isinstance(wanted.A, Tensor)
        torch.testing.assert_close(own.G, wanted.G)
        assert own.A.X.shape == (layer.fan_in, own.patches)
        estimate = (own.A.X @ own.A.X.T).double()
        if layer.kind == "linear":  # fewer patches than columns: all of them
            torch.testing.assert_close(estimate, wanted.A, rtol=1e-4, atol=1e-5)
        else:
            assert 390 <= own.patches <= 440
            assert float((estimate - wanted.A).norm() / wanted.A.norm()) < 0.4


def test_shrinking_and_merging_columns() -> None:
    X, eye = columns(), torch.eye(6, dtype=torch.float64)
    one = Moments(Columns(X, 0.0), eye, 10, 20)
    A, _ = one.shrunk()
    assert isinstance(A, Columns)
    assert pytest.approx(36 / 56) == A.weight
    both = one.merged(Moments(Columns(2 * X, 0.0), eye, 10, 60)).A
    assert isinstance(both, Columns)
    torch.testing.assert_close(both.X @ both.X.T, (0.25 * 1 + 0.75 * 4) * X @ X.T)
    Y = gradients()
    sampled = Moments(A, Columns(Y, 0.0), 10, 20)
    G = sampled.shrunk()[1]
    assert isinstance(G, Columns)
    assert pytest.approx(6 / 16) == G.weight
    torch.testing.assert_close(full(G), shrink((Y @ Y.T).double(), 10), rtol=1e-5, atol=1e-6)
    both = sampled.merged(Moments(A, Columns(2 * Y, 0.0), 30, 20)).G
    assert isinstance(both, Columns)
    torch.testing.assert_close(both.X @ both.X.T, (0.25 * 1 + 0.75 * 4) * Y @ Y.T)


def test_products_of_low_rank_are_checked_as_kernels_are(kernel: Tensor, layer: Layer) -> None:
    """On columns the outputs of two factors are computed without their kernel."""
    white, X, G = whiten(kernel, Columns(columns(), WEIGHT)), columns(r=9), spd(6)
    for name, ranks in (("svd", (2,)), ("cp", (3,))):
        decomposition = DECOMPOSITIONS.get(name)
        form = decomposition.forms(layer)[0]
        fit = fit_candidate(
            white, layer, decomposition, form, ranks, config=Effort(iterations=3, fit_flops=1e12)
        )
        assert fit.error == pytest.approx(white.error(fit.chain, fit.factors), rel=1e-9)
        rebuilt = reconstruct(fit.chain, white.to_layer(fit.chain, fit.factors), (3, 3))
        wanted = kernel_error(kernel, rebuilt, Columns(X, 0.0), G)
        assert held_out_error(kernel, white, Columns(X, 0.0), G)(fit) == pytest.approx(wanted, rel=1e-5)


def test_large_kernels_are_in_single_precision(
    kernel: Tensor, layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    precise = whiten(kernel, Columns(columns(), WEIGHT), Columns(gradients(), WEIGHT))
    monkeypatch.setattr("ranksearch.calibration.whitening._PRECISE", 100)
    single = whiten(kernel, Columns(columns(), WEIGHT), Columns(gradients(), WEIGHT))
    assert single.kernel.dtype == torch.float32
    for name in DECOMPOSITIONS.names():
        decomposition = DECOMPOSITIONS.get(name)
        for form in decomposition.forms(layer):
            ranks = tuple(2 for _ in decomposition.max_ranks(layer, form))
            effort = Effort(iterations=40, fit_flops=1e12)
            one, other = (
                fit_candidate(white, layer, decomposition, form, ranks, config=effort)
                for white in (precise, single)
            )
            assert other.error == pytest.approx(one.error, rel=0.02)


def test_few_whitened_kernels_stay_in_memory(
    kernel: Tensor, layer: Layer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make(name: str) -> Whitened:
        made.append(name)
        return whiten(kernel, Columns(columns(), WEIGHT))

    monkeypatch.setattr("ranksearch.planning.fits._KEPT_BYTES", int(2.5 * make("").nbytes))
    fits = Fits(make, Effort(iterations=0, fit_flops=0))
    for name in "abacab":
        fits.whitened(name)
    assert "".join(made) == "abcb"  # `c` drove out `b`, which was asked for before `a`, and `b` then `c`


def test_candidates_of_a_wide_layer(kernel: Tensor, layer: Layer) -> None:
    table = layer_candidates(layer, whiten(kernel, Columns(columns(), WEIGHT)), CandidateConfig())
    assert len(table.candidates) > 10
    assert all(0 <= c.error <= table.scale for c in table.candidates)


def test_principal_fibres_are_a_decomposition() -> None:
    """All of them reproduce the tensor; some reproduce the energy of as many orthogonal terms."""
    tensor = torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    errors = []
    for rank in (3, 10, 24, 30):
        o, i, h, w = principal_fibres(tensor, rank, mode_bases(tensor))
        assert o.shape == (5, rank)
        rebuilt = torch.einsum("or,ir,hr,wr->oihw", o, i, h, w)
        errors.append(float((rebuilt - tensor).norm() / tensor.norm()))
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.3
    assert errors[2] < 1e-10


def test_effort_is_bounded(kernel: Tensor, layer: Layer) -> None:
    white, cp = whiten(kernel, Columns(columns(), WEIGHT)), DECOMPOSITIONS.get("cp")
    errors = [
        fit_candidate(white, layer, cp, "joint", (4,), config=Effort(iterations=50, fit_flops=flops)).error
        for flops in (0.0, 1e12)
    ]
    start = fit_candidate(white, layer, cp, "joint", (4,), config=Effort(iterations=0, fit_flops=1e12)).error
    assert errors[0] == start
    assert errors[1] < 0.95 * start
