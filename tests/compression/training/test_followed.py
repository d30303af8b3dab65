"""Between the weights before and after a training."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from ranksearch.compression.training import follow
from ranksearch.compression.training.followed import WAYS, between
from ranksearch.tasks import Estimate


def norm(weight: float, bias: float, mean: float, count: int) -> nn.BatchNorm1d:
    layer = nn.BatchNorm1d(1)
    with torch.no_grad():
        layer.weight.fill_(weight)
        layer.bias.fill_(bias)
        assert layer.running_mean is not None
        assert layer.num_batches_tracked is not None
        layer.running_mean.fill_(mean)
        layer.num_batches_tracked.fill_(count)
    return layer.eval()


def weight_of(model: nn.Module) -> float:
    return model.get_parameter("weight").item()


def test_every_weight_and_statistic_lies_as_far_along_and_the_ends_stay() -> None:
    before, after = norm(1.0, 0.0, 2.0, 3), norm(5.0, -4.0, 0.0, 9)
    kept = [copy.deepcopy(model.state_dict()) for model in (before, after)]
    found = between(before, after, 0.25).state_dict()
    expected = {
        "weight": 2.0,
        "bias": -1.0,
        "running_mean": 1.5,
        "running_var": 1.0,
        "num_batches_tracked": 9.0,
    }
    assert {name: float(value) for name, value in found.items()} == expected
    for model, state in zip((before, after), kept, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


class Counting(nn.Module):
    """State that is no tensor."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def get_extra_state(self) -> Any:
        return {"count": self.count}

    def set_extra_state(self, state: Any) -> None:
        self.count = state["count"]


def test_state_that_is_no_tensor_is_that_afterwards() -> None:
    found = between(Counting(1), Counting(5), 0.5)
    assert isinstance(found, Counting)
    assert found.count == 5


@pytest.mark.parametrize(
    ("nearest", "way"), [(1.2, 1.0), (0.9, 1.0), (0.8, 0.75), (0.55, 0.5), (0.3, 0.25), (0.0, 0.25)]
)
def test_the_nearest_of_the_ways_is_found(nearest: float, way: float) -> None:
    """Distance from a point of the line from 0 to 1, of one weight."""
    before, after = norm(0.0, 0.0, 0.0, 0), norm(1.0, 0.0, 0.0, 0)

    def score(model: nn.Module) -> Estimate:
        return Estimate(abs(weight_of(model) - nearest), 0.0, 1)

    found = follow(before, after, score)
    assert found.way == way
    assert weight_of(found.model) == way
    assert found.divergence == score(found.model)
    assert (found.model is after) == (way == 1.0)


def test_no_more_is_scored_than_it_takes() -> None:
    before, after = norm(0.0, 0.0, 0.0, 0), norm(1.0, 0.0, 0.0, 0)
    seen = []

    def score(model: nn.Module) -> Estimate:
        seen.append(weight_of(model))
        return Estimate(-seen[-1], 0.0, 1)

    assert follow(before, after, score).way == 1.0
    assert seen == [1.0, WAYS[0]]


def test_a_training_that_ended_infinitely_far_is_turned_back_from() -> None:
    before, after = norm(0.0, 0.0, 0.0, 0), norm(1.0, 0.0, 0.0, 0)

    def score(model: nn.Module) -> Estimate:
        weight = weight_of(model)
        return Estimate(float("inf") if weight > 0.6 else weight, 0.0, 1)

    assert follow(before, after, score).way == 0.25
