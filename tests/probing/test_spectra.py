"""Spectra against values by hand and against torch's own SVD; truncation against Eckart and Young."""

from __future__ import annotations

from math import log, sqrt
from pathlib import Path

import pytest
import torch

from ranksearch.calibration import Moments, kernel_error
from ranksearch.networks import list_layers
from ranksearch.probing import CutSpectrum, moments_spectra, write_spectra
from ranksearch.probing.cuts import Cut
from ranksearch.probing.spectra import layer_spectra, singular_values
from ranksearch.probing.spectrafile import read_spectra

CUT = Cut((0,), (1,))


def spectrum(*values: float) -> CutSpectrum:
    return CutSpectrum("fc", CUT, "plain", values)


def test_entropy_by_hand() -> None:
    assert spectrum(2.0, 2.0, 2.0, 2.0).entropy == pytest.approx(log(4))
    assert spectrum(2.0, 2.0, 2.0, 2.0).effective_rank == pytest.approx(4)
    assert spectrum(5.0, 0.0).entropy == 0
    p = 9 / 10
    assert spectrum(3.0, 1.0).entropy == pytest.approx(-p * log(p) - (1 - p) * log(1 - p))
    assert spectrum(0.0, 0.0).entropy == 0


def test_norms_and_ranks_by_hand() -> None:
    found = spectrum(4.0, 2.0, 2.0, 1.0)  # squares 16, 4, 4, 1 of 25
    assert found.norms.tolist() == pytest.approx([0.8, sqrt(0.8), sqrt(0.96), 1.0])
    assert [found.rank_for(n) for n in (0.8, 0.81, 0.9, 0.99, 1.0)] == [1, 2, 3, 4, 4]


@pytest.mark.parametrize("shape", [(4, 9), (9, 4)])
def test_values_are_those_of_the_svd(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(singular_values(matrix), torch.linalg.svdvals(matrix))


def test_planted_spectrum_of_a_convolution() -> None:
    layer = list_layers(torch.nn.Conv2d(5, 6, 3))[0]
    left, _ = torch.linalg.qr(torch.randn(6, 3, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(45, 3, dtype=torch.float64))
    planted = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    kernel = ((left * planted) @ right.T).reshape(6, 5, 3, 3)
    found = layer_spectra(layer, kernel).spectra[0]
    assert found.cut.name == "o|ihw"
    assert found.values == pytest.approx((3, 2, 1, 0, 0, 0), abs=1e-6)


def test_truncation_is_the_best_of_its_rank() -> None:
    layer = list_layers(torch.nn.Conv2d(5, 6, 3))[0]
    kernel = torch.randn(6, 5, 3, 3)
    found = layer_spectra(layer, kernel)
    for s, basis in zip(found.spectra, found.bases, strict=True):
        for bond in range(1, s.full_rank + 1):
            truncated = basis.truncate(kernel, bond)
            assert truncated.shape == kernel.shape
            assert torch.linalg.matrix_rank(s.cut.matrix(truncated), rtol=1e-4) == bond
            lost = sqrt(sum(v * v for v in s.values[bond:]))
            assert float((kernel - truncated).norm()) == pytest.approx(lost, abs=1e-4)
            kept = float(truncated.norm() / kernel.norm())
            assert kept == pytest.approx(s.norm_kept(bond), abs=1e-5)
        assert torch.equal(basis.truncate(kernel, s.full_rank), kernel)


def test_in_the_moments_metric_the_tail_is_twice_the_error() -> None:
    torch.manual_seed(0)
    layer = list_layers(torch.nn.Linear(7, 5))[0]
    kernel = torch.randn(5, 7, dtype=torch.float64)
    a, g = torch.randn(40, 7, dtype=torch.float64), torch.randn(40, 5, dtype=torch.float64)
    moments = Moments(a.T @ a / 40, g.T @ g / 40, 40, 40)
    (found,) = moments_spectra(layer, kernel, moments)
    assert found.coordinates == "moments"
    A, G = moments.shrunk()
    total = kernel_error(kernel, torch.zeros_like(kernel), A, G)
    assert sum(v * v for v in found.values) / 2 == pytest.approx(total, rel=1e-6)


def test_only_the_cut_of_the_outputs_is_exact_in_the_moments_metric() -> None:
    layer = list_layers(torch.nn.Conv1d(3, 4, 3))[0]
    moments = Moments(torch.eye(9, dtype=torch.float64), torch.eye(4, dtype=torch.float64), 10**9, 10**9)
    kernel = torch.randn(4, 3, 3)
    found = moments_spectra(layer, kernel, moments)
    assert [s.coordinates for s in found] == ["moments", "moments, approximate", "moments, approximate"]
    plain = layer_spectra(layer, kernel).spectra  # with A = G = I both are the plain spectra
    for s, p in zip(found, plain, strict=True):
        assert s.values == pytest.approx(p.values, rel=1e-3)


def test_spectra_come_back_from_their_file(tmp_path: Path) -> None:
    layer = list_layers(torch.nn.Conv2d(3, 4, 3))[0]
    written = layer_spectra(layer, torch.randn(4, 3, 3, 3)).spectra
    write_spectra(tmp_path / "spectra.csv", written)
    for a, b in zip(read_spectra(tmp_path / "spectra.csv"), written, strict=True):
        assert (a.layer, a.cut, a.coordinates) == (b.layer, b.cut, b.coordinates)
        assert a.values == pytest.approx(b.values, rel=1e-6)
