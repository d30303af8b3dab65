"""Simpler errors than the Fisher one: what they look at, and that candidates are made and checked by them."""

from __future__ import annotations

import pytest
import torch

from ranksearch.calibration import Columns, ErrorKind, kernel_error, simplify, task_moments
from ranksearch.calibration.error_kinds import ERROR_KINDS
from ranksearch.networks import reconstruct
from ranksearch.planning import CandidateConfig, prepare
from ranksearch.tasks import Task

A = torch.tensor([[2.0, 1.0], [1.0, 4.0]], dtype=torch.float64)
G = torch.tensor([[3.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
DELTA = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        # ½ tr(G Δ A Δᵀ): Δ A Δᵀ = [[22, 9], [9, 4]], G weighs it 3·22 + 2·9 + 1·4 = 88.
        ("fisher", 44.0),
        # ½ (22 + 4)
        ("activation", 13.0),
        # mean of G's diagonal 2, A's diagonal (2, 4): ½ · 2 · (2·1 + 4·(4 + 1))
        ("rows", 22.0),
        # ½ (1 + 4 + 1)
        ("plain", 3.0),
    ],
)
def test_errors_by_hand(kind: ErrorKind, error: float) -> None:
    zero = torch.zeros(2, 2, dtype=torch.float64)
    assert kernel_error(DELTA, zero, *simplify(A, G, kind)) == pytest.approx(error)


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_columns_of_gradients_have_the_errors_of_their_matrix(kind: ErrorKind) -> None:
    X, zero = torch.tensor([[1.0, 2.0, 0.5], [0.5, 1.0, 3.0]]), torch.zeros(2, 2, dtype=torch.float64)
    one, other = (simplify(A, G, kind) for G in (Columns(X, 0.0), (X @ X.T).double()))
    assert kernel_error(DELTA, zero, *one) == pytest.approx(kernel_error(DELTA, zero, *other), rel=1e-6)


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_tables_hold_the_held_out_error_of_their_kind(tiny_task: Task, kind: ErrorKind) -> None:
    config = CandidateConfig(decompositions=("svd",), fits_per_form=2, error=kind)
    problem = prepare(tiny_task, config=config)
    layers = [table.layer for table in problem.tables]
    held_out = task_moments(tiny_task, layers, ("divergence",), seed=0)
    for layer in layers:
        kernel = tiny_task.model.get_submodule(layer.name).weight.detach()
        seen = simplify(held_out[layer.name].A, held_out[layer.name].G, kind)
        (table,) = (table for table in problem.tables if table.layer is layer)
        candidate = table.candidates[0]  # the cheapest is fitted, not interpolated
        fit = problem.fits.fit(layer, candidate)
        rebuilt = reconstruct(fit.chain, problem.fits.factors(layer, candidate), kernel.shape[2:])
        error = kernel_error(kernel, rebuilt, *seen)
        assert candidate.error == pytest.approx(error, rel=1e-3, abs=1e-9)


def test_plain_svd_is_the_truncated_svd_of_the_kernel(tiny_task: Task) -> None:
    problem = prepare(tiny_task, config=CandidateConfig(decompositions=("svd",), error="plain"))
    for table in problem.tables:
        kernel = tiny_task.model.get_submodule(table.layer.name).weight.detach()
        values = torch.linalg.svdvals(kernel.flatten(1).double())
        for candidate in table.candidates:
            rank = len(values) if candidate.is_dense else candidate.ranks[0]
            tail = 0.5 * float(values[rank:].square().sum())
            assert candidate.error == pytest.approx(tail, rel=1e-5, abs=1e-8)
