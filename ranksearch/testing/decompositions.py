"""Contract tests of decompositions, over the layers that they apply to.

Subclass `DecompositionContract` under a name that begins with `Test`, with a fixture `decomposition` that gives yours.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import pytest
import torch
from torch import Tensor, nn

from ranksearch.calibration import (
    Whitened,
    kernel_error,
    square_in_kernel_order,
    unfold_chunks,
    whiten,
)
from ranksearch.costs import chain_cost, measure_cost
from ranksearch.decompositions import Decomposition
from ranksearch.networks import LAYER_TYPES, Layer, chain_module, discover, kernel_of, reconstruct
from ranksearch.planning import CandidateConfig, Effort, Fit, fit_candidate, layer_candidates, refine


@dataclass(frozen=True)
class LayerCase:
    """A layer with a suitable input."""

    id: str
    module: nn.Module
    shape: tuple[int, ...]

    @property
    def example(self) -> Tensor:
        """An input of zeros."""
        kind = torch.long if isinstance(self.module, nn.Embedding) else torch.float32
        return torch.zeros(1, *self.shape, dtype=kind)

    @property
    def layer(self) -> Layer:
        (layer,) = discover(self.module, self.example)
        return layer

    @property
    def kernel(self) -> Tensor:
        """An (O, I, *kernel_size) tensor."""
        return kernel_of(self.module, "")


def _conv2d(id: str, **options: object) -> LayerCase:
    options = {"kernel_size": 3, "padding": 1, **options}
    return LayerCase(id, nn.Conv2d(4, 5, **options), (4, 9, 8))  # type: ignore[arg-type]


def _cases() -> list[LayerCase]:
    torch.manual_seed(0)
    cases = [
        LayerCase("linear", nn.Linear(6, 5), (6,)),
        LayerCase("linear-tokens", nn.Linear(6, 5, bias=False), (7, 6)),
        LayerCase("conv1d", nn.Conv1d(4, 5, 3, stride=2, padding=1), (4, 11)),
        LayerCase(
            "conv1d-circular", nn.Conv1d(4, 5, 3, padding=2, dilation=2, padding_mode="circular"), (4, 11)
        ),
        LayerCase("conv3d", nn.Conv3d(3, 4, (2, 3, 2), stride=(1, 2, 1), padding=(1, 1, 0)), (3, 5, 6, 5)),
        LayerCase("conv3d-pointwise-time", nn.Conv3d(3, 4, (1, 3, 3), padding=(0, 1, 1)), (3, 3, 6, 5)),
        LayerCase("embedding", nn.Embedding(6, 5), (7,)),
        LayerCase("embedding-narrow", nn.Embedding(9, 4, padding_idx=2), (7,)),
        LayerCase("conv-transpose1d", nn.ConvTranspose1d(4, 5, 3, stride=2, dilation=2, padding=1), (4, 6)),
        LayerCase(
            "conv-transpose2d",
            nn.ConvTranspose2d(4, 5, (3, 4), stride=2, padding=(0, 1), output_padding=(1, 0)),
            (4, 4, 3),
        ),
        LayerCase("conv-transpose2d-patches", nn.ConvTranspose2d(4, 3, 2, stride=2, bias=False), (4, 4, 3)),
        LayerCase("conv-transpose3d", nn.ConvTranspose3d(3, 4, (2, 3, 2), stride=(1, 2, 1)), (3, 3, 3, 3)),
        _conv2d("pointwise", kernel_size=1, padding=0, stride=2),
        _conv2d("wide-kernel", kernel_size=(3, 5), padding=(1, 2), bias=False),
        _conv2d("one-axis", kernel_size=(1, 3), padding=(0, 1)),
        _conv2d("same", padding="same", dilation=2),
        _conv2d("uneven", stride=(2, 1), padding=(0, 2), dilation=(1, 2)),
    ]
    for stride in (1, 2):
        for mode in ("zeros", "reflect", "circular", "replicate"):
            cases.append(_conv2d(f"s{stride}-{mode}", stride=stride, padding_mode=mode))
    return cases


EFFORT = Effort(iterations=3, fit_flops=1e12)
CASES = _cases()

GROUPED = [
    LayerCase("grouped-conv1d", nn.Conv1d(6, 9, 3, stride=2, padding=1, groups=3), (6, 11)),
    LayerCase("grouped-conv2d", nn.Conv2d(8, 6, (3, 2), padding=(1, 0), groups=2, bias=False), (8, 5, 6)),
    LayerCase("grouped-pointwise", nn.Conv2d(8, 12, 1, groups=2), (8, 5, 6)),
    LayerCase(
        "grouped-transpose1d", nn.ConvTranspose1d(6, 9, 4, stride=2, padding=1, groups=3, bias=False), (6, 5)
    ),
    LayerCase(
        "grouped-transpose2d",
        nn.ConvTranspose2d(8, 6, (3, 2), stride=(2, 1), padding=(1, 0), output_padding=(1, 0), groups=2),
        (8, 4, 3),
    ),
    LayerCase("grouped-transpose3d", nn.ConvTranspose3d(4, 6, (1, 3, 2), stride=2, groups=2), (4, 2, 3, 3)),
]
"""Whose chains consist of one for each group."""


def inputs(case: LayerCase, count: int = 24) -> Tensor:
    """Correlated inputs, so that the moments are not the identity."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(case.module, nn.Embedding):
        count_of = case.module.num_embeddings  # later indices are rarer, and each occurs
        rare = torch.rand(count, *case.shape, generator=generator).square() * count_of
        return (
            rare.long()
            .flatten()
            .index_copy(0, torch.arange(count_of), torch.arange(count_of))
            .view(count, *case.shape)
        )
    x = torch.randn(count, *case.shape, generator=generator)
    return x + 0.7 * x.roll(1, dims=1) + 0.5


def moments_of(case: LayerCase) -> Tensor:
    if case.layer.traits.lookup:
        found = torch.bincount(inputs(case).flatten()).double()
        return found / found.sum()
    chunks = unfold_chunks(inputs(case), case.layer, torch.Generator(), positions=1000)
    rows = torch.cat(list(chunks))
    return square_in_kernel_order((rows.T @ rows).double() / len(rows), case.layer)


def output_moments(case: LayerCase) -> Tensor:
    rows = torch.randn(case.layer.out_channels, 12, generator=torch.Generator().manual_seed(2)).double()
    return rows @ rows.T / 12


def middle_ranks(case: LayerCase, decomposition: Decomposition, form: str) -> tuple[int, ...]:
    return tuple(max(1, limit // 3) for limit in decomposition.max_ranks(case.layer, form))


def as_module(case: LayerCase, white: Whitened, fit: Fit) -> nn.Sequential:
    bias = case.module._parameters.get("bias")
    factors = [f.float() for f in white.to_layer(fit.chain, fit.factors)]
    return chain_module(case.layer, fit.chain, factors, None if bias is None else bias.detach().clone())


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
class DecompositionContract:
    """Checks of one decomposition, on every shape that it offers for each of many layers. It has to be registered."""

    def test_full_rank_reproduces_the_layer(self, decomposition: Decomposition, case: LayerCase) -> None:
        for form in decomposition.forms(case.layer):
            layer = case.layer
            white = whiten(case.kernel, moments_of(case), output_moments(case))
            ranks = decomposition.max_ranks(layer, form)
            chain = decomposition.chain(layer, form, ranks)
            fit = refine(white, chain, decomposition.init(white, form, ranks), iterations=5)
            x = inputs(case)
            wanted = case.module(x).detach()
            torch.testing.assert_close(
                as_module(case, white, fit)(x), wanted, rtol=0, atol=1e-5 * float(wanted.norm())
            )
            scale = float(case.kernel.norm())
            rebuilt = reconstruct(chain, white.to_layer(chain, fit.factors), layer.kernel_size)
            assert float((rebuilt - case.kernel).norm()) <= 1e-5 * scale

    def test_a_planted_kernel_is_recovered(self, decomposition: Decomposition, case: LayerCase) -> None:
        for form in decomposition.forms(case.layer):
            layer = case.layer
            ranks = tuple(min(2, limit) for limit in decomposition.max_ranks(layer, form))
            chain = decomposition.chain(layer, form, ranks)
            generator = torch.Generator().manual_seed(3)
            planted = [torch.randn(f.shape(layer.kernel_size), generator=generator).double() for f in chain]
            white = whiten(
                reconstruct(chain, planted, layer.kernel_size), moments_of(case), output_moments(case)
            )
            fit = refine(white, chain, decomposition.init(white, form, ranks), iterations=200)
            assert fit.error <= 1e-5 * white.scale

    @pytest.mark.parametrize("kind", ["zeros", "constant", "rank-one"])
    def test_degenerate_kernels_are_fitted_exactly(
        self, decomposition: Decomposition, case: LayerCase, kind: str
    ) -> None:
        """Such kernels occur: residual branches may be initialised with zeros, and filters may blur."""
        for form in decomposition.forms(case.layer):
            shape = case.kernel.shape
            kernel = torch.zeros(shape) if kind == "zeros" else torch.ones(shape)
            if kind == "rank-one":
                generator = torch.Generator().manual_seed(4)
                for dim, size in enumerate(shape):
                    kernel *= torch.randn(size, generator=generator).reshape(
                        -1, *[1] * (len(shape) - dim - 1)
                    )
            white = whiten(kernel, moments_of(case), output_moments(case))
            for ranks in (
                tuple(1 for _ in middle_ranks(case, decomposition, form)),
                middle_ranks(case, decomposition, form),
            ):
                fit = fit_candidate(white, case.layer, decomposition, form, ranks, config=EFFORT)
                assert fit.error <= 1e-5 * white.scale
                assert all(bool(torch.isfinite(factor).all()) for factor in fit.weights(white))
            table = layer_candidates(
                case.layer, white, CandidateConfig(decompositions=(decomposition.name,), iterations=3)
            )
            assert all(0 <= candidate.error <= 1e-5 * white.scale for candidate in table.candidates)

    def test_refinement_only_improves_and_is_what_it_says(
        self, decomposition: Decomposition, case: LayerCase
    ) -> None:
        for form in decomposition.forms(case.layer):
            layer = case.layer
            A, G, kernel = moments_of(case), output_moments(case), case.kernel
            white = whiten(kernel, A, G)
            ranks = middle_ranks(case, decomposition, form)
            chain = decomposition.chain(layer, form, ranks)
            start = decomposition.init(white, form, ranks)
            before = white.error(chain, start)
            fit = refine(white, chain, start, iterations=10)
            assert fit.error <= before * (1 + 1e-12)
            if decomposition.closed_form:
                assert fit.error == pytest.approx(before, rel=1e-3, abs=1e-9 * white.scale)
            rebuilt = reconstruct(chain, white.to_layer(chain, fit.factors), layer.kernel_size)
            assert fit.error == pytest.approx(
                kernel_error(kernel, rebuilt, A, G), rel=1e-4, abs=1e-7 * white.scale
            )

    def test_error_does_not_rise_with_the_ranks(self, decomposition: Decomposition, case: LayerCase) -> None:
        for form in decomposition.forms(case.layer):
            layer = case.layer
            white = whiten(case.kernel, moments_of(case), output_moments(case))
            limits = decomposition.max_ranks(layer, form)
            fits: list[Fit] = []
            for quarter in (1, 2, 3, 4):
                ranks = tuple(max(1, min(limit, 12) * quarter // 4) for limit in limits)
                fits.append(fit_candidate(white, layer, decomposition, form, ranks, fits, config=EFFORT))
            errors = [fit.error for fit in fits]
            assert errors == sorted(errors, reverse=True)

    def test_predicted_cost_is_built_cost(self, decomposition: Decomposition, case: LayerCase) -> None:
        for form in decomposition.forms(case.layer):
            layer = case.layer
            chain = decomposition.chain(layer, form, middle_ranks(case, decomposition, form))
            factors = [torch.zeros(factor.shape(layer.kernel_size)) for factor in chain]
            module = chain_module(
                layer, chain, factors, torch.zeros(layer.out_channels) if layer.bias else None
            )
            assert measure_cost(module, case.example) == chain_cost(layer, chain)

    def test_output_error_is_what_the_activation_metric_says(
        self, decomposition: Decomposition, case: LayerCase
    ) -> None:
        """With G = I, ε is half the mean squared output error per position."""
        for form in decomposition.forms(case.layer):
            white = whiten(case.kernel, moments_of(case))
            ranks = middle_ranks(case, decomposition, form)
            chain = decomposition.chain(case.layer, form, ranks)
            fit = refine(white, chain, decomposition.init(white, form, ranks), iterations=3)
            x = inputs(case)
            error = as_module(case, white, fit)(x) - case.module(x)
            positions = error.numel() // case.layer.out_channels
            measured = 0.5 * float(error.detach().double().square().sum()) / positions
            assert measured == pytest.approx(fit.error, rel=1e-3, abs=1e-7 * white.scale)

    def test_built_modules_train_and_are_plain(self, decomposition: Decomposition, case: LayerCase) -> None:
        for form in decomposition.forms(case.layer):
            white = whiten(case.kernel, moments_of(case))
            ranks = middle_ranks(case, decomposition, form)
            chain = decomposition.chain(case.layer, form, ranks)
            fit = refine(white, chain, decomposition.init(white, form, ranks), iterations=0)
            module = as_module(case, white, fit)
            module(inputs(case)).square().mean().backward()
            assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in module.parameters())
            assert {type(m) for m in module} <= {*LAYER_TYPES}
            other = as_module(case, white, Fit(chain, tuple(torch.zeros_like(f) for f in fit.factors), 0.0))
            if case.layer.bias:
                nn.init.zeros_(other[-1].get_parameter("bias"))
            other.load_state_dict(module.state_dict())
            torch.testing.assert_close(other(inputs(case)), module(inputs(case)), rtol=0, atol=0)

    def test_chains_cover_each_axis_once(self, decomposition: Decomposition, case: LayerCase) -> None:
        for form in decomposition.forms(case.layer):
            chain = decomposition.chain(case.layer, form, middle_ranks(case, decomposition, form))
            assert sorted(axis for factor in chain for axis in factor.axes) == list(
                range(case.layer.spatial_dims)
            )
            assert chain[0].in_channels == case.layer.in_channels
            assert chain[-1].out_channels == case.layer.out_channels
            assert not chain[0].depthwise
            assert not chain[-1].depthwise

    def test_factors_are_balanced_and_bounded(self, decomposition: Decomposition, case: LayerCase) -> None:
        """Components of CP do not diverge and cancel: the size of entries is in proportion to the kernel."""
        for form in decomposition.forms(case.layer):
            white = whiten(case.kernel, moments_of(case), output_moments(case))
            ranks = middle_ranks(case, decomposition, form)
            chain = decomposition.chain(case.layer, form, ranks)
            fit = refine(white, chain, decomposition.init(white, form, ranks), iterations=60)
            largest = max(float(f.abs().max()) for f in fit.factors)
            assert largest <= 10 * float(white.kernel.norm()) ** (1 / len(chain)) + 10
            assert prod(float(f.norm()) for f in fit.factors) <= 100 * float(white.kernel.norm()) * prod(
                ranks
            )
