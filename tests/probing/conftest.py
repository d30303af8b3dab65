"""Networks of several shapes of control flow, small enough to be swept in a second."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ranksearch.tasks import Task


class Branching(nn.Module):
    """A residual block with in-place arithmetic, a shared activation, functional steps, and a layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU(inplace=True)
        self.left = nn.Conv2d(6, 6, 3, padding=1)
        self.right = nn.Conv2d(6, 6, 1)
        self.twice = nn.Conv2d(6, 6, (3, 1), padding=(1, 0))
        self.tail = nn.Sequential(
            nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.stem(x)))
        y = self.left(x)
        y += self.right(x)
        y = self.twice(F.relu(y))
        y = self.act(self.twice(y) + x)
        return self.head(self.tail(y).flatten(1) * 3)


class Moody(nn.Module):
    """A model that remembers: what its first layer gives depends on how often the model was called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.first = nn.Linear(5, 6)
        self.second = nn.Linear(6, 6)
        self.third = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.calls % 3 == 1:
            x = self.second(x)
        self.calls += 1
        return self.third(self.second(x))


@pytest.fixture
def branching() -> nn.Module:
    torch.manual_seed(0)
    return Branching().eval()


@pytest.fixture
def moody() -> nn.Module:
    torch.manual_seed(0)
    return Moody().eval()


@pytest.fixture(scope="session")
def labelled_task(tiny_task: Task) -> Task:
    """The tiny network, with the labels that it gives itself: a guess is far below it."""
    with torch.no_grad():
        inputs = tiny_task.train.tensors[0]  # type: ignore[attr-defined]
        labels = tiny_task.model(inputs).argmax(dim=1)
    return Task(
        tiny_task.model,
        torch.utils.data.TensorDataset(inputs, labels),
        calibration_size=48,
        batch_size=32,
        val_split=0.4,
    )
