from __future__ import annotations

import torch
from torch import Tensor, nn

from ranksearch.networks import discover, take_inventory


class Mixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(10, 4)
        self.again = self.tokens
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, groups=2), nn.BatchNorm2d(4)
        )
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.features(x).mean((2, 3)) + self.tokens.weight[0])
        return scores


def test_every_parameter_is_somewhere() -> None:
    model = Mixed()
    found = take_inventory(model, discover(model, torch.randn(1, 3, 9, 9)))
    assert (found.able, found.dense) == (4 * 28 + 2 * 5 + 4 * (2 * 9 + 1), 40)
    assert [(o.kind, o.modules, o.params) for o in found.others] == [("BatchNorm2d", 2, 16)]
    assert found.total == sum(p.numel() for p in model.parameters())
