"""Passes leave nothing behind: in the model, in the task's model, in the global generators."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ranksearch
from ranksearch.cache import digest
from ranksearch.networks import call, eval_mode
from ranksearch.tasks import Task


class Stateful(nn.Module):
    """What it does on its way is up to `step`, which gives a factor for its outputs."""

    def __init__(self, step: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 4)
        self.register_buffer("count", torch.zeros(()))
        self.mean = torch.zeros(8)
        self.seen: list[Tensor] = []
        self.known: dict[str, Any] = {}
        self.number = 0
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x * self.step(self, x)))) * 3


def writes_a_buffer(m: Any, x: Tensor) -> Tensor:
    m.count += 1
    return 1 + 0.1 * m.count


def replaces_a_buffer(m: Any, x: Tensor) -> Tensor:
    m.count = m.count + 1
    return 1 + 0.1 * m.count


def averages(m: Any, x: Tensor) -> Tensor:
    m.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
    return 1 + m.mean


def counts(m: Any, x: Tensor) -> float:
    m.number += 1
    return 1 + 0.1 * m.number


def remembers(m: Any, x: Tensor) -> float:
    m.latest = x
    m.seen.append(x)
    m.known[str(len(m.known))] = len(m.seen)
    return 1 + 0.1 * len(m.seen) + 0.1 * len(m.known)


def draws(m: Any, x: Tensor) -> Tensor:
    return 1 + 0.1 * torch.rand(8) + 0.1 * random.random() + 0.1 * float(np.random.rand())


def makes_a_part(m: Any, x: Tensor) -> Tensor:
    if not hasattr(m, "gain"):
        m.gain = nn.Linear(1, 8)
    return 1 + 0.1 * m.gain.bias


STEPS = [writes_a_buffer, replaces_a_buffer, averages, counts, remembers, draws, makes_a_part]


def state_of(model: nn.Module) -> tuple[Any, ...]:
    attributes = [sorted(vars(module)) for module in model.modules()]
    m: Any = model
    plain = (m.number, len(m.seen), dict(m.known), digest(m.mean))
    return attributes, sorted(m._modules), digest(dict(model.state_dict())), plain


def generators() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()


@pytest.mark.parametrize("step", STEPS)
def test_every_pass_is_the_first_one(step: Callable[[Any, Tensor], Any]) -> None:
    model, x = Stateful(step).eval(), torch.randn(5, 8)
    before, drawn = state_of(model), generators()
    with eval_mode(model):
        first, second = call(model, x), call(model, x)
    assert torch.equal(first, second)
    assert state_of(model) == before
    assert generators() == drawn


@pytest.mark.parametrize("step", STEPS)
def test_gradients_pass_through_what_was_taken_back(step: Callable[[Any, Tensor], Any]) -> None:
    model = Stateful(step).eval()
    call(model, torch.randn(5, 8)).sum().backward()
    assert model.first.weight.grad is not None


def test_in_training_a_model_changes_as_it_likes() -> None:
    model = Stateful(writes_a_buffer).train()
    call(model, torch.randn(5, 8))
    assert model.count == 1


@pytest.mark.parametrize("step", STEPS)
def test_the_model_handed_in_is_never_changed_and_a_second_search_finds_the_same(
    step: Callable[[Any, Tensor], Any],
) -> None:
    torch.manual_seed(0)
    model = Stateful(step).eval()
    data = TensorDataset(torch.randn(48, 8), torch.arange(48) % 4)
    before, drawn = state_of(model), generators()
    results = []
    for _ in range(2):
        task = Task(model, data)
        result = ranksearch.search(task, 0.7, n_trials=2, finetune_steps=2)
        config = ranksearch.CompressConfig(epochs=0, iterations=3)
        compressed = ranksearch.compress(task, result.plan, config=config)
        results.append((result.plan.ranks, result.plan.error, digest(dict(compressed.model.state_dict()))))
        results.append((ranksearch.search(task, 0.7, n_trials=2, finetune_steps=2).plan.ranks,))
    assert results[0] == results[2]
    assert results[1] == results[3] == results[0][:1]
    assert state_of(model) == before
    assert generators() == drawn


class Drawing(TensorDataset):
    """Data with random augmentation of every kind."""

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        (x,) = super().__getitem__(index)
        return (x + 0.01 * torch.rand(4) + random.random() + float(np.random.rand()),)


def test_the_callers_generators_are_as_before_whatever_the_data_draw() -> None:
    torch.manual_seed(1)
    task = Task(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)), Drawing(torch.randn(24, 4)))
    drawn = generators()
    result = ranksearch.search(task, 0.9)
    ranksearch.compress(task, result.plan, config=ranksearch.CompressConfig(epochs=1, iterations=3))
    assert generators() == drawn


def test_changes_to_the_model_after_the_task_was_made_do_not_reach_it() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    task = Task(model, TensorDataset(torch.randn(12, 4)))
    with torch.no_grad():
        model[0].weight.zero_()
    assert task.model.get_parameter("0.weight").any()
