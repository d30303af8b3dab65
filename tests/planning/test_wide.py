"""Wide layers: a few columns stand for A, and what is made of them agrees with the full matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ranksearch.calibration import Columns, Moments, kernel_error, whiten
from ranksearch.calibration import moments as moments_module
from ranksearch.calibration.moments import collect_moments
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.decompositions.cp import principal_fibres
from ranksearch.networks import Layer, discover, reconstruct
from ranksearch.planning import CandidateConfig, Effort, fit_candidate
from ranksearch.planning.tables import layer_candidates
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


def test_wide_layers_are_collected_as_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 49, 5))
    x = torch.randn(40, 4, 7, 7)
    layers = discover(model, x[:1])
    exact = collect_moments(model, layers, x.split(16), CROSS_ENTROPY, seed=0, device=CPU)
    monkeypatch.setattr(moments_module, "WIDE", 30)
    monkeypatch.setattr(moments_module, "COLUMNS", 400)
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


def test_candidates_of_a_wide_layer(kernel: Tensor, layer: Layer) -> None:
    table = layer_candidates(layer, whiten(kernel, Columns(columns(), WEIGHT)), CandidateConfig())
    assert len(table.candidates) > 10
    assert all(0 <= c.error <= table.scale for c in table.candidates)


def test_principal_fibres_are_a_decomposition() -> None:
    """All of them reproduce the tensor; some reproduce the energy of as many orthogonal terms."""
    tensor = torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(0)).double()
    errors = []
    for rank in (3, 10, 24, 30):
        o, i, h, w = principal_fibres(tensor, rank)
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
