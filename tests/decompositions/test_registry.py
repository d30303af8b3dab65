"""Which decomposition applies to what, and registering one's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ranksearch.calibration import Whitened, kernel_error, whiten
from ranksearch.costs import layer_cost
from ranksearch.decompositions import DECOMPOSITIONS, Decomposition, Ranks
from ranksearch.decompositions.spectral import truncated_svd
from ranksearch.errors import InputError
from ranksearch.networks import Chain, Factor, Factors, Layer, discover
from ranksearch.planning import CandidateConfig, Effort, fit_candidate
from ranksearch.planning.tables import layer_candidates

APPLIES = {
    "linear": (nn.Linear(8, 8), (8,), {"svd"}),
    "pointwise": (nn.Conv2d(8, 8, 1), (8, 6, 6), {"svd", "grouped_svd"}),
    "conv1d": (nn.Conv1d(8, 8, 3), (8, 9), {"svd", "tucker2", "cp", "grouped_svd"}),
    "one wide axis": (nn.Conv2d(8, 8, (3, 1)), (8, 6, 6), {"svd", "tucker2", "cp", "grouped_svd"}),
    "conv2d": (nn.Conv2d(8, 8, 3), (8, 6, 6), {*DECOMPOSITIONS.names()}),
    "conv3d": (nn.Conv3d(8, 8, 3), (8, 5, 6, 6), {*DECOMPOSITIONS.names()}),
}


@pytest.mark.parametrize("kind", APPLIES)
def test_what_applies_to_what(kind: str) -> None:
    module, shape, wanted = APPLIES[kind]
    (layer,) = discover(module, torch.zeros(1, *shape))
    assert {name for name in DECOMPOSITIONS.names() if DECOMPOSITIONS.get(name).forms(layer)} == wanted


class InputSVD(Decomposition):
    """The cut i|ohw: a pointwise layer, then a narrow copy of the layer."""

    name = "input_svd"

    def forms(self, layer: Layer) -> tuple[str, ...]:
        return ("",) if layer.spatial_dims else ()

    def max_ranks(self, layer: Layer, form: str) -> Ranks:
        return (min(layer.in_channels, layer_cost(layer).params // layer.in_channels),)

    def chain(self, layer: Layer, form: str, ranks: Ranks) -> Chain:
        return (
            Factor(layer.in_channels, ranks[0]),
            Factor(ranks[0], layer.out_channels, tuple(range(layer.spatial_dims))),
        )

    def init(self, whitened: Whitened, form: str, ranks: Ranks) -> Factors:
        swapped: Tensor = whitened.kernel.movedim(1, 0)
        left, right = truncated_svd(swapped.flatten(1), ranks[0])
        return left.T, right.reshape(ranks[0], *swapped.shape[1:]).movedim(0, 1)


@pytest.fixture
def own() -> str:
    DECOMPOSITIONS.register(InputSVD())
    return "input_svd"


def test_one_of_the_users_own(own: str) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(8, 6, 3)
    (layer,) = discover(module, torch.zeros(1, 8, 6, 6))
    table = layer_candidates(layer, whiten(module.weight), CandidateConfig(decompositions=(own,)))
    assert {c.decomposition for c in table.candidates} == {"dense", own}
    errors = [c.error for c in table.candidates]
    assert errors == sorted(errors, reverse=True)


def test_names_are_taken_once(own: str) -> None:
    with pytest.raises(InputError, match="decompositions: expected an unused name, got 'input_svd'"):
        DECOMPOSITIONS.register(InputSVD())


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(
        InputError, match=r"expected svd or spatial_svd or .*, got 'tucker'. Did you mean 'tucker2'"
    ):
        DECOMPOSITIONS.get("tucker")


def test_what_is_only_taken_by_its_name() -> None:
    assert "grouped_svd" in DECOMPOSITIONS.names()
    assert "grouped_svd" not in DECOMPOSITIONS.usable()
    assert "grouped_svd" not in CandidateConfig().decompositions


@pytest.mark.parametrize("weighted", [False, True])
def test_groups_of_inputs_are_the_svd_of_each(weighted: bool) -> None:
    """Where A does not connect groups; where it does, fits are better than groups by themselves."""
    torch.manual_seed(0)
    own = DECOMPOSITIONS.get("grouped_svd")
    conv = nn.Conv2d(8, 10, 1)
    (layer,) = discover(conv, torch.zeros(1, 8, 4, 4))
    rows = torch.randn(8, 40).double()
    rows = rows + 0.7 * rows.roll(3, dims=0)
    A = rows @ rows.T / 40
    apart = torch.block_diag(A[:4, :4], A[4:, 4:])
    white = whiten(conv.weight, A if weighted else apart)
    fit = fit_candidate(white, layer, own, "2", (2,), config=Effort(iterations=80, fit_flops=1e12))
    kernel = conv.weight.detach().double().flatten(1)
    pieces = []
    for k in (0, 4):
        root = torch.linalg.cholesky(A[k : k + 4, k : k + 4])
        left, values, right = torch.linalg.svd(kernel[:, k : k + 4] @ root)
        pieces.append((left[:, :2] * values[:2]) @ right[:2] @ torch.linalg.inv(root))
    alone = kernel_error(kernel, torch.cat(pieces, dim=1), A if weighted else apart)
    first, _ = fit.weights(white)
    assert first.shape == (4, 4, 1, 1)
    assert fit.error == pytest.approx(alone, rel=1e-4) if not weighted else fit.error < 0.99 * alone
