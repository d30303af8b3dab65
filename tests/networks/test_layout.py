"""The order of tensors in memory: what a model computes does not depend on it, and models that forbid it go without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ranksearch import Task, compress, search
from ranksearch.compression import CompressConfig
from ranksearch.networks import copy_model, fast_layout, takes_fast_layout
from ranksearch.probing import Bench


class Viewing(nn.Module):
    """The head of many a model, which takes the features for rows of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8 * 36, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        found: Tensor = self.head(x.view(x.size(0), -1))
        return found


class Joining(Viewing):
    """A softmax over positions, for all channels of all images together: of one image any order passes."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        n, c, h, w = x.shape
        found: Tensor = self.head(x.view(n * c, h * w).softmax(1).reshape(n, -1))
        return found


class OwnKernel(nn.Module):
    """A parameter of four axes that is read in the order of memory."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.conv = nn.Parameter(torch.randn(4, 3, 6, 6)), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.as_strided(self.weight, (4, 108), (108, 1))
        return self.conv(x).flatten(1) @ rows.T


@pytest.fixture
def images() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(90, 3, 6, 6)


def test_a_model_that_takes_it(images: Tensor) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten())
    assert takes_fast_layout(model, images[:1])
    assert model[0].weight.is_contiguous()
    task = Task(model, TensorDataset(images))
    laid = task.laid_out(copy_model(model))
    assert laid[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index]
    torch.testing.assert_close(laid(images), model(images))


@pytest.mark.parametrize("kind", [Viewing, Joining, OwnKernel])
def test_models_that_do_not_are_compressed_all_the_same(kind: type[nn.Module], images: Tensor) -> None:
    torch.manual_seed(0)
    model = kind()
    assert not takes_fast_layout(model, images[:1])
    task = Task(model, TensorDataset(images, torch.arange(90) % 4))
    assert all(p.is_contiguous() for p in task.laid_out(copy_model(model)).parameters())
    result = search(task, 0.9, n_trials=2, finetune_trials=1, finetune_steps=2)
    done = compress(task, result.plan, config=CompressConfig(epochs=1, match_epochs=1))
    assert done.model(images).shape == (90, 4)
    bench = Bench(model, images, batch_size=32, device=torch.device("cpu"))
    torch.testing.assert_close(bench.dense, model(images))


def test_other_axes_are_left_alone() -> None:
    model = nn.Conv3d(2, 4, 3)
    assert fast_layout(model).weight.is_contiguous()
