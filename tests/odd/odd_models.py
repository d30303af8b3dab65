"""What odd models are made of, and the way from search to load that they are put through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ranksearch
from ranksearch.compression import CompressConfig
from ranksearch.tasks import Task


class Forward(nn.Module):
    """Two linear layers and more modules by name, and a forward that is any function of them and the input."""

    def __init__(self, forward: Callable[..., Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.run = forward
        for name, module in ({"first": nn.Linear(8, 8), "last": nn.Linear(8, 4)} | modules).items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def plain(m: Any, x: Tensor) -> Tensor:
    return m.last(torch.relu(m.first(x)))


def model(forward: Callable[..., Tensor] = plain, **modules: nn.Module) -> Any:
    torch.manual_seed(0)
    return Forward(forward, **modules).eval()


def named(*names: str) -> nn.Module:
    made = model()
    shared = nn.Parameter(torch.ones(2))
    for name in names:
        made.register_parameter(name, shared)
    made.register_buffer("a b é", torch.ones(1))
    return made


def quantised() -> nn.Module:
    made = model(lambda m, x: plain(m, m.more(x)), more=nn.Sequential(nn.Linear(8, 8)))
    made.more = torch.ao.quantization.quantize_dynamic(made.more, {nn.Linear})
    return made.eval()


def task_of(made: nn.Module) -> Task:
    inputs = torch.randn(24, 8, generator=torch.Generator().manual_seed(0))
    return Task(made, TensorDataset(inputs, torch.arange(24) % 4), batch_size=8)


def through(made: nn.Module, folder: Path, epochs: int = 1) -> int:
    """From search to load; the number of layers that are factorised."""
    task = task_of(made)
    result = ranksearch.search(task, 0.7)
    done = ranksearch.compress(task, result.plan, config=CompressConfig(iterations=3, epochs=epochs))
    ranksearch.save(folder, task, result, done)
    loaded = ranksearch.load(folder, made)
    inputs = task.inputs("divergence")
    torch.testing.assert_close(task.outputs(loaded, inputs), task.outputs(done.model, inputs))
    return sum(not candidate.is_dense for candidate in done.plan.choices.values())
