"""Peak activation memory, against what is alive by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ranksearch.costs import peak_activation_bytes

FLOAT = 4


class Residual(nn.Module):
    """Its input, x, y and their sum are alive at once, and what is made of the input first unless that is freed."""

    def __init__(self, freed: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.freed = freed

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.cat([x, x])
        if self.freed:
            del wide
        y = self.conv(x)
        z = self.conv(y).relu_().view_as(x)
        return y + z


@pytest.mark.parametrize("batch", [1, 3])
def test_a_chain_of_layers_holds_two_at_a_time(batch: int) -> None:
    x = torch.zeros(batch, 4)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    assert peak_activation_bytes(model, x) == batch * FLOAT * (4 + 8 + 8)
    in_place = nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 2))
    assert peak_activation_bytes(in_place, x) == batch * FLOAT * (4 + 8 + 2)


def test_what_is_freed_does_not_count_and_views_count_once() -> None:
    x = torch.zeros(2, 3, 8, 8)
    size = FLOAT * x.numel()
    assert peak_activation_bytes(Residual(freed=True), x) == 4 * size
    assert peak_activation_bytes(Residual(freed=False), x) == 6 * size


def test_it_does_not_depend_on_what_ran_before() -> None:
    class Remembering(nn.Module):
        """Keeps its last output, and works with a buffer and a transposed weight."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(4, 4))
            self.register_buffer("mean", torch.zeros(4))
            self.last: Tensor | None = None

        def forward(self, x: Tensor) -> Tensor:
            self.last = (x - self.mean) @ self.weight.t()
            return self.last.relu()

    model = Remembering()
    found = {peak_activation_bytes(model, torch.zeros(1, 4)) for _ in range(3)}
    assert found == {FLOAT * 4 * 3}
    assert model.last is None
    assert model.training


def test_precision_counts() -> None:
    x = torch.zeros(1, 4, dtype=torch.float64)
    assert peak_activation_bytes(nn.Linear(4, 6).double(), x) == 8 * (4 + 6)


def test_attention_is_taken_apart() -> None:
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 64, batch_first=True), 1, enable_nested_tensor=False
    ).eval()
    assert peak_activation_bytes(encoder, torch.zeros(1, 5, 8)) >= FLOAT * 5 * (8 + 64)
