"""What a run warns of before the long part."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn

from ranksearch.costs import Budget, Cost, Kept
from ranksearch.runs.narrate import describe_budgets, describe_dense
from ranksearch.tasks import Task


class Heard:
    """A reporter that keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)

    def progress(self, stage: str, done: int, total: int, best: float | None = None) -> None:
        """Keeps nothing."""

    def loss(self, stage: str, step: int, value: float) -> None:
        """Keeps nothing."""


def labelled(right: bool, metric: str | None = None) -> Task:
    """A task whose model answers all 200 examples of four classes rightly, or only those of the first class."""
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    with torch.no_grad():
        model.weight.copy_(torch.eye(4) * (1.0 if right else 0.0))
        model.bias.copy_(torch.tensor([0.1, 0.0, 0.0, 0.0]))
    targets = torch.arange(200) % 4
    return Task(model, (torch.eye(4)[targets], targets), metric_fn=metric, calibration_size=30)  # type: ignore[arg-type]


@pytest.mark.parametrize(("right", "warns"), [(True, False), (False, True)])
def test_a_model_at_chance_is_warned_of(right: bool, warns: bool, caplog: pytest.LogCaptureFixture) -> None:
    found = describe_dense(labelled(right), Heard())
    assert found is not None
    assert found.mean == pytest.approx(100.0 if right else 25.0, abs=15)
    assert ("no better than chance, which is 25." in caplog.text) is warns


@pytest.mark.parametrize(("fraction", "warns"), [(1.0, True), (0.99, False)])
def test_a_budget_that_cuts_nothing_is_warned_of(
    fraction: float, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    budget = Budget.of(Cost(params=1000, flops=2000), Kept(fraction=fraction), "params", ())
    describe_budgets([budget], Heard())
    assert ("nothing has to be cut" in caplog.text) is warns
    also = Budget.of(
        Cost(params=1000, flops=2000), Kept(fraction=1.0), "params", (("flops", Kept(fraction=0.5)),)
    )
    caplog.clear()
    describe_budgets([also], Heard())
    assert not caplog.text
