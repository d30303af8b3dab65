"""Operations that torch's counter does not know, counted by hand or through the operations that it knows."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranksearch.costs import measure_cost


class Attends(nn.Module):
    def __init__(self, masked: bool) -> None:
        super().__init__()
        self.linear, self.masked = nn.Linear(8, 24), masked

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (2, 4)).transpose(1, 2) for part in self.linear(x).chunk(3, dim=-1))
        mask = torch.zeros(x.shape[1], x.shape[1]) if self.masked else None
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("masked", [False, True])
def test_attention(masked: bool) -> None:
    linear, scores, mixed = 5 * 8 * 24, 2 * 5 * 5 * 4, 2 * 5 * 5 * 4
    assert measure_cost(Attends(masked), torch.randn(1, 5, 8)).flops == 2 * (linear + scores + mixed)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers(kind: type[nn.RNNBase], gates: int, bidirectional: bool) -> None:
    model = nn.Sequential(kind(7, 6, num_layers=2, bidirectional=bidirectional, batch_first=True))
    directions = 1 + bidirectional
    first, second = gates * 6 * (7 + 6), gates * 6 * (6 * directions + 6)

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.model(x)[0]
            return outputs

    assert measure_cost(First(), torch.randn(1, 5, 7)).flops == 2 * 5 * directions * (first + second)


def test_bilinear() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.product = nn.Bilinear(8, 7, 3)

        def forward(self, x: Tensor) -> Tensor:
            outputs: Tensor = self.product(x, x[..., :7])
            return outputs

    assert measure_cost(Twice(), torch.randn(1, 5, 8)).flops == 2 * 5 * 3 * (8 * 7 + 7)


def test_a_matrix_times_a_vector() -> None:
    class Vector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix = nn.Parameter(torch.randn(4, 6))

        def forward(self, x: Tensor) -> Tensor:
            return (self.matrix @ x[0])[None]

    assert measure_cost(Vector(), torch.randn(1, 6)).flops == 2 * 4 * 6
