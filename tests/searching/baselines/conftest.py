"""A network on paper: layers with kernels of falling spectra, prepared as calibration would, none can be run."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import pytest
import torch

from ranksearch.calibration import ErrorKind, simplify, whiten
from ranksearch.costs import Budget, Cost
from ranksearch.networks import Layer
from ranksearch.networks.layers import Call
from ranksearch.planning import CandidateConfig, Choice, Problem
from ranksearch.planning.fits import Fits
from ranksearch.planning.tables import layer_candidates
from ranksearch.searching.baselines import Context, Evaluations

SHAPES = ((12, 6, 3), (16, 12, 3), (16, 16, 1), (20, 16, 3), (10, 20, 0))
"""(O, I, kernel width); width 0 stands for a Linear layer."""


def make_layer(name: str, o: int, i: int, width: int, size: int = 8) -> Layer:
    call = Call((size, size), (size, size)) if width else Call((), ())
    taps = (width, width) if width else ()
    ones = tuple(1 for _ in taps)
    return Layer(
        name=name,
        kind="conv2d" if width else "linear",
        in_channels=i,
        out_channels=o,
        kernel_size=taps,
        stride=ones,
        padding=tuple(width // 2 for _ in taps),
        dilation=ones,
        padding_mode="zeros",
        groups=1,
        bias=False,
        calls=(call,),
    )


def paper_problem(base: Problem, error: ErrorKind, names: tuple[str, ...]) -> Problem:
    """A problem of `SHAPES` with these decompositions, compared by this error."""
    generator = torch.Generator().manual_seed(0)
    tables, whitened = [], {}
    for k, (o, i, width) in enumerate(SHAPES):
        layer = make_layer(f"layer{k}", o, i, width)
        n = layer.fan_in
        left, right = (torch.randn(m, m, generator=generator).double() for m in (o, n))
        values = torch.diag_embed(0.8 ** torch.arange(min(o, n)).double())
        kernel = (
            torch.linalg.qr(left)[0][:, : len(values)] @ values @ torch.linalg.qr(right)[0][: len(values)]
        )
        rows = torch.randn(n, 3 * n, generator=generator).double()
        gradients = torch.randn(o, 3 * o, generator=generator).double() * (k + 1)
        A, G = rows @ rows.T / (3 * n), gradients @ gradients.T / (3 * o)
        white = whiten(kernel.reshape(o, i, *layer.kernel_size), *simplify(A, G, error))
        config = CandidateConfig(decompositions=names, fits_per_form=3, iterations=2, error=error)
        table = layer_candidates(layer, white, config)
        tables.append(table)
        whitened[layer.name] = white
    dense = sum((table.dense for table in tables), Cost(params=300, flops=0))
    return replace(
        base,
        layers=tuple(table.layer for table in tables),
        tables=tuple(tables),
        dense=dense,
        fits=Fits(whitened.__getitem__, config),
    )


@pytest.fixture(scope="session")
def full_problem(tiny_problem: Problem) -> Problem:
    return paper_problem(tiny_problem, "fisher", ("svd", "spatial_svd", "tucker2", "cp"))


@pytest.fixture(scope="session")
def svd_problem(tiny_problem: Problem) -> Problem:
    return paper_problem(tiny_problem, "plain", ("svd",))


class MakeContext(Protocol):
    def __call__(
        self,
        problem: Problem,
        budget: float,
        metric: str = "params",
        *,
        seed: int = 0,
        evaluations: int = 12,
    ) -> Context: ...


@pytest.fixture(scope="session")
def make_context() -> MakeContext:
    """Contexts whose score of a plan is a made-up one that no method optimises."""

    def make(
        problem: Problem, budget: float, metric: str = "params", *, seed: int = 0, evaluations: int = 12
    ) -> Context:
        def score(choice: Choice) -> float:
            errors = [t.candidates[k].error / t.scale for t, k in zip(problem.tables, choice, strict=True)]
            return sum((k + 1) * error**0.7 for k, error in enumerate(errors))

        of = Budget.of(problem.dense, budget, metric)
        return Context(problem, of, Evaluations(score), seed, evaluations)

    return make
