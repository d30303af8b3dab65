"""Of budgets that cannot be met the message says what holds them up, and advises only what helps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ranksearch
from ranksearch.errors import BudgetError


class MostlyEmbedding(nn.Module):
    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.inner = nn.Embedding(400, 16), nn.Linear(16, 16)
        self.head = nn.Linear(16, 400 if tied else 4)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.inner(self.embedding(x).mean(1))))  # type: ignore[no-any-return]


class MostlyLSTM(nn.Module):
    def __init__(self, cells: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells = cells
        self.rnn = nn.LSTMCell(8, 48) if cells else nn.LSTM(8, 48, batch_first=True)
        self.head = nn.Linear(48, 4)

    def forward(self, x: Tensor) -> Tensor:
        if not self.cells:
            return self.head(self.rnn(x)[0][:, -1])  # type: ignore[no-any-return]
        state = None
        for k in range(x.shape[1]):
            state = self.rnn(x[:, k], state)
        return self.head(state[0])  # type: ignore[no-any-return, index]


def refused(model: nn.Module, inputs: Tensor, **options: Any) -> str:
    task = ranksearch.Task(model.eval(), TensorDataset(inputs, torch.arange(len(inputs)) % 4))
    with pytest.raises(BudgetError) as caught:
        ranksearch.search(task, 0.01, progress=False, **options)
    return str(caught.value)


IDS = torch.randint(0, 400, (40, 6), generator=torch.Generator().manual_seed(0))
SERIES = torch.randn(40, 5, 8, generator=torch.Generator().manual_seed(0))


def test_what_was_ignored_is_named() -> None:
    said = refused(MostlyEmbedding(), IDS, ignore="embedding")
    assert "Raise the budget. Of the" in said
    assert (
        "6,400 are not in layers that can be factorised: embedding (6,400: ignored by 'embedding')." in said
    )


def test_tied_weights_are_named_once() -> None:
    said = refused(MostlyEmbedding(tied=True), IDS)
    assert "6,800 are not in layers that can be factorised: embedding (6,400: its weight is shared" in said
    assert "head (400: its weight is shared" in said


def test_modules_that_are_no_layers_are_named() -> None:
    said = refused(MostlyLSTM(cells=True), SERIES)
    assert f"LSTMCell ({4 * 48 * (8 + 48 + 2):,})." in said


@pytest.mark.parametrize(("model", "inputs"), [(MostlyEmbedding(), IDS), (MostlyLSTM(False), SERIES)])
def test_where_ranks_of_one_are_the_least_nothing_else_is_advised(model: nn.Module, inputs: Tensor) -> None:
    assert refused(model, inputs).endswith("Raise the budget.")


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"min_rank": 2}, "or allow smaller ranks."),
        ({"decompositions": "tucker2"}, "or allow more decompositions."),
        ({"decompositions": "tucker2", "min_rank": 2}, "or allow smaller ranks or more decompositions."),
    ],
)
def test_only_what_helps_is_advised(options: dict[str, Any], advice: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.Flatten(), nn.Linear(48, 4)
    )
    said = refused(model, torch.randn(40, 3, 6, 6), ignore="4", **options)
    assert advice in said


def test_what_lies_outside_of_a_part_is_not_to_blame() -> None:
    said = refused(MostlyEmbedding(), IDS, budget_of="inner,head", ignore="head")
    assert "embedding" not in said
