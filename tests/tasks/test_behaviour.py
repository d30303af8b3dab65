"""Two models beside each other, on predictions that are known."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ranksearch.tasks import LOSSES, Task, answers, calibration_error, compare_answers

LOGITS = torch.tensor([[3.0, 0, 0], [0, 3, 0], [0, 0, 3], [3, 0, 0], [0, 3, 0], [0, 0, 3]])
TARGETS = torch.tensor([0, 1, 2, 0, 1, 0])


class Shifted(nn.Module):
    """Class k's logit is raised by a number."""

    def __init__(self, *raised: float) -> None:
        super().__init__()
        self.raised = nn.Parameter(torch.tensor(raised))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.raised


class Counting(TensorDataset):
    reads = 0

    def __getitem__(self, index: int) -> Any:
        Counting.reads += 1
        return super().__getitem__(index)


def task_on(data: TensorDataset, loss: str = "cross_entropy") -> Task:
    train = TensorDataset(LOGITS.repeat(4, 1), TARGETS.repeat(4))
    return Task(Shifted(0.0, 0, 0), train, test=data, loss=LOSSES.get(loss), batch_size=4)


def test_flips_classes_and_both_metrics_from_one_reading() -> None:
    task = task_on(Counting(LOGITS, TARGETS))
    Counting.reads = 0
    found = answers([task.model, Shifted(0.0, 0, 4)], task, "test")  # everything is of class 2 now
    assert Counting.reads == len(TARGETS)
    assert found is not None
    behaviour = compare_answers(*found)
    assert behaviour.dense.mean == pytest.approx(100 * 5 / 6)
    assert behaviour.compressed.mean == pytest.approx(100 / 6)
    assert (behaviour.drop.lost, behaviour.drop.gained) == (4, 0)
    predictions = behaviour.predictions
    assert predictions is not None
    assert predictions.flips == pytest.approx(4 / 6)
    worst = [(x.number, x.examples, x.drop) for x in predictions.classes]
    assert worst == [(1, 2, 100.0), (0, 3, pytest.approx(200 / 3))]
    confidence = float(LOGITS.softmax(1).max())
    assert predictions.dense_ece == pytest.approx(confidence - 5 / 6, abs=1e-6)


def test_the_calibration_error_is_that_of_its_definition() -> None:
    rng = np.random.default_rng(0)
    confidence = np.concatenate([rng.uniform(0.1, 1, 500), [1 / 15, 2 / 15, 1.0]])
    right = rng.uniform(size=len(confidence)) < confidence**2
    wanted = 0.0
    edges = np.linspace(0, 1, 16)
    for low, high in pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            wanted += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    found = calibration_error(torch.from_numpy(confidence), torch.from_numpy(right))
    assert found == pytest.approx(wanted, abs=3 / 503)  # two of them lie on edges
    assert calibration_error(torch.empty(0), torch.empty(0)) == 0


def test_ignored_and_soft_targets() -> None:
    ignored = TARGETS.clone()
    ignored[5] = -100
    task = task_on(TensorDataset(LOGITS, ignored))
    found = answers([task.model, task.model], task, "test")
    assert found is not None
    predictions = compare_answers(*found).predictions
    assert predictions is not None
    assert predictions.dense_ece == pytest.approx(1 - float(LOGITS.softmax(1).max()), abs=1e-6)
    soft = task_on(TensorDataset(LOGITS, nn.functional.one_hot(TARGETS).float()))
    found = answers([soft.model, Shifted(0.0, 0, 4)], soft, "test")
    assert found is not None
    behaviour = compare_answers(*found)
    assert behaviour.predictions is not None
    assert behaviour.predictions.flips == pytest.approx(4 / 6)


def test_other_tasks_have_the_drop_alone() -> None:
    task = task_on(TensorDataset(LOGITS, LOGITS), "squared_error")
    found = answers([task.model, Shifted(1.0, 0, 0)], task, "test")
    assert found is not None
    behaviour = compare_answers(*found)
    assert behaviour.predictions is None
    assert behaviour.drop.mean == pytest.approx(0.5)  # half the squared error, which was none


def test_a_broken_model_and_data_without_labels() -> None:
    task = task_on(TensorDataset(LOGITS, TARGETS))
    found = answers([task.model, Shifted(float("nan"), 0, 0)], task, "test")
    assert found is not None
    predictions = compare_answers(*found).predictions
    assert predictions is not None
    assert 0 <= predictions.ece <= 1
    assert answers([task.model], task_on(TensorDataset(LOGITS)), "test") is None
    assert answers([task.model], task, "divergence") is not None
