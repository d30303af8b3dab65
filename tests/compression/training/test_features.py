"""Blocks, and how far their features are apart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision
from torch import Tensor, nn

from ranksearch.compression.training import block_names
from ranksearch.compression.training.features import distance, recorded
from ranksearch.networks import discover


def blocks_of(model: nn.Module, size: int = 64) -> tuple[str, ...]:
    layers = discover(model.eval(), torch.randn(1, 3, size, size))
    return block_names(model, [layer.name for layer in layers if layer.reason is None])


@pytest.mark.parametrize(
    ("make", "size", "count", "example"),
    [
        (torchvision.models.resnet18, 64, 8, "layer2.1"),
        (torchvision.models.mobilenet_v2, 64, 16, "features.3.conv"),
        (torchvision.models.vgg11, 64, 2, "features"),
        (torchvision.models.vit_b_32, 224, 12, "encoder.layers.encoder_layer_3.mlp"),
    ],
)
def test_blocks_of_known_networks(
    make: Callable[..., nn.Module], size: int, count: int, example: str
) -> None:
    torch.manual_seed(0)
    names = blocks_of(make(weights=None), size)
    assert len(names) == count
    assert example in names


def test_what_is_not_called_is_no_block() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(2))

        def forward(self, x: Tensor) -> Tensor:
            for part in self.parts:
                x = part(x)
            return x

    model = nn.Sequential(Listed(), nn.Conv2d(3, 4, 3))
    assert blocks_of(model, 8) == ("0",)


def test_a_plain_sequence_has_no_blocks() -> None:
    assert blocks_of(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)), 8) == ()


def test_distance_is_relative_and_a_mean_over_blocks() -> None:
    wanted = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([[1.0]])}
    found = {"a": torch.tensor([3.0, 5.0]), "b": torch.tensor([[3.0]])}
    assert float(distance(wanted, found)) == pytest.approx((1 / 25 + 4) / 2)


def test_outputs_are_recorded_as_long_as_asked() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    with recorded(model, ["0"]) as seen:
        x = torch.randn(4, 2)
        model(x)
        assert torch.equal(seen["0"], model[0](x))
        before = seen["0"]
    model(torch.randn(4, 2))
    assert seen["0"] is before
