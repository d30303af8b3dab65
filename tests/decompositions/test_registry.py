"""Which decomposition applies to what, and registering one's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ranksearch.calibration import Whitened, whiten
from ranksearch.costs import layer_cost
from ranksearch.decompositions import DECOMPOSITIONS, Decomposition, Ranks
from ranksearch.decompositions.spectral import truncated_svd
from ranksearch.errors import InputError
from ranksearch.networks import Chain, Factor, Factors, Layer, discover
from ranksearch.planning import CandidateConfig
from ranksearch.planning.tables import layer_candidates

APPLIES = {
    "linear": (nn.Linear(8, 8), (8,), {"svd"}),
    "pointwise": (nn.Conv2d(8, 8, 1), (8, 6, 6), {"svd"}),
    "conv1d": (nn.Conv1d(8, 8, 3), (8, 9), {"svd", "tucker2", "cp"}),
    "one wide axis": (nn.Conv2d(8, 8, (3, 1)), (8, 6, 6), {"svd", "tucker2", "cp"}),
    "conv2d": (nn.Conv2d(8, 8, 3), (8, 6, 6), {"svd", "spatial_svd", "tucker2", "cp", "tensor_train"}),
    "conv3d": (nn.Conv3d(8, 8, 3), (8, 5, 6, 6), {"svd", "spatial_svd", "tucker2", "cp", "tensor_train"}),
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
