"""Whitened coordinates and refinement."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ranksearch.calibration import kernel_error, whiten
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.networks import Factor, Layer, contract, discover, reconstruct
from ranksearch.planning.refinement import LAST_RIDGE, _Projection, balance, fits_into, pad, refine


def spd(size: int, seed: int) -> Tensor:
    rows = torch.randn(size, 3 * size, generator=torch.Generator().manual_seed(seed)).double()
    return rows @ rows.T / (3 * size)


@pytest.fixture
def layer() -> Layer:
    (layer,) = discover(nn.Conv2d(5, 6, 3), torch.zeros(1, 5, 7, 7))
    return layer


@pytest.fixture
def kernel() -> Tensor:
    return torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0))


def test_error_by_hand() -> None:
    kernel = torch.tensor([[1.0, 2.0]])
    A, G = torch.tensor([[2.0, 1.0], [1.0, 3.0]]), torch.tensor([[4.0]])
    assert kernel_error(kernel, torch.zeros(1, 2)) == pytest.approx(2.5)
    assert kernel_error(kernel, torch.zeros(1, 2), A) == pytest.approx(0.5 * (2 + 4 + 12))
    assert kernel_error(kernel, torch.zeros(1, 2), A, G) == pytest.approx(2 * (2 + 4 + 12))


def test_whitened_error_is_the_error(kernel: Tensor, layer: Layer) -> None:
    A, G = spd(45, 1), spd(6, 2)
    white = whiten(kernel, A, G)
    assert white.scale == pytest.approx(kernel_error(kernel, torch.zeros_like(kernel), A, G), rel=1e-6)
    for name in DECOMPOSITIONS.names():
        decomposition = DECOMPOSITIONS.get(name)
        for form in decomposition.forms(layer):
            ranks = tuple(2 for _ in decomposition.max_ranks(layer, form))
            chain = decomposition.chain(layer, form, ranks)
            factors = decomposition.init(white, form, ranks)
            own = white.to_layer(chain, factors)
            rebuilt = reconstruct(chain, own, (3, 3))
            assert white.error(chain, factors) == pytest.approx(kernel_error(kernel, rebuilt, A, G), rel=1e-5)
            for there, back in zip(factors, white.from_layer(chain, own), strict=True):
                torch.testing.assert_close(there.double(), back, rtol=1e-6, atol=1e-9)


def test_separable_moments_leave_the_plain_norm(kernel: Tensor) -> None:
    """With A = A_i ⊗ A_h ⊗ A_w nothing is left to weigh once the modes are whitened."""
    A = torch.kron(torch.kron(spd(5, 1), spd(3, 2)), spd(3, 3))
    white = whiten(kernel, A, spd(6, 4))
    left = white.root.matrix @ white.root.matrix.T
    torch.testing.assert_close(
        left / left.diagonal().mean(), torch.eye(45, dtype=torch.float64), rtol=0, atol=1e-6
    )


def test_svd_is_the_optimum_of_eckart_and_young(kernel: Tensor, layer: Layer) -> None:
    """Against numpy's SVD of G^½ W A^½, and against what refinement finds from a random start."""
    A, G = spd(45, 1), spd(6, 2)
    white = whiten(kernel, A, G)
    values = torch.linalg.svdvals(
        torch.linalg.cholesky(G).T @ kernel.flatten(1).double() @ torch.linalg.cholesky(A)
    )
    svd = DECOMPOSITIONS.get("svd")
    for rank in (1, 3, 5):
        error = white.error(svd.chain(layer, "", (rank,)), svd.init(white, "", (rank,)))
        assert error == pytest.approx(0.5 * float(values[rank:].square().sum()), rel=1e-6)
    chain = svd.chain(layer, "", (3,))
    start = [torch.randn(f.shape((3, 3)), generator=torch.Generator().manual_seed(5)) for f in chain]
    best = white.error(chain, svd.init(white, "", (3,)))
    assert refine(white, chain, start, iterations=200).error == pytest.approx(best, rel=1e-3)


def test_more_iterations_are_no_worse(kernel: Tensor, layer: Layer) -> None:
    white = whiten(kernel, spd(45, 1), spd(6, 2))
    cp = DECOMPOSITIONS.get("cp")
    chain, start = cp.chain(layer, "joint", (6,)), cp.init(white, "joint", (6,))
    errors = [refine(white, chain, start, iterations=k).error for k in (0, 5, 40, 160)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.9 * errors[0]


def test_balancing_keeps_the_kernel_and_evens_the_norms() -> None:
    chain = (Factor(4, 3), Factor(3, 3, (0, 1), depthwise=True), Factor(3, 5))
    factors = [torch.randn(f.shape((3, 3))).double() * 10.0**k for k, f in enumerate(chain)]
    factors[0][1] = 0  # a component that is not used
    balanced = balance(chain, factors)
    torch.testing.assert_close(reconstruct(chain, balanced, (3, 3)), reconstruct(chain, factors, (3, 3)))
    for r in (0, 2):
        norms = [balanced[0][r].norm(), balanced[1][r].norm(), balanced[2][:, r].norm()]
        torch.testing.assert_close(torch.stack(norms), norms[0].expand(3), rtol=1e-9, atol=0)


def test_padding_keeps_the_kernel(layer: Layer) -> None:
    tucker = DECOMPOSITIONS.get("tucker2")
    small, large = tucker.chain(layer, "", (2, 3)), tucker.chain(layer, "", (4, 3))
    factors = [torch.randn(f.shape((3, 3))) for f in small]
    grown = pad(small, large, factors, (3, 3))
    assert [tuple(f.shape) for f in grown] == [f.shape((3, 3)) for f in large]
    torch.testing.assert_close(reconstruct(large, grown, (3, 3)), reconstruct(small, factors, (3, 3)))
    assert fits_into(small, large)
    assert not fits_into(large, small)


def test_small_errors_are_as_exact_in_single_precision() -> None:
    """Else the line search of a nearly perfect fit ends in noise long before its last step."""
    (layer,) = discover(nn.Conv2d(8, 8, 3), torch.zeros(1, 8, 7, 7))
    generator = torch.Generator().manual_seed(2)
    factors = [torch.randn(size, 4, generator=generator) for size in (8, 8, 3, 3)]
    exact = torch.einsum("or,ir,hr,wr->oihw", *factors)
    white = whiten(exact + 1e-3 * torch.randn(exact.shape, generator=generator), spd(72, 0), spd(8, 1))
    cp = DECOMPOSITIONS.get("cp")
    chain = cp.chain(layer, "joint", (4,))
    components = contract(chain[:-1], cp.init(white, "joint", (4,))[:-1]).flatten(1).double()
    single, _ = _Projection.of(white, (), torch.float32).loss(components.float(), LAST_RIDGE)
    double, _ = _Projection.of(white, (), torch.float64).loss(components, LAST_RIDGE)
    assert double < 1e-4
    assert single == pytest.approx(double, rel=1e-3)
