"""Trainings that are interrupted: they go on from their last whole epoch, to the last bit."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from ranksearch.compression import CompressConfig, compress
from ranksearch.compression.training import FinetuneConfig, KeptTraining, finetune, kept, steps_per_epoch
from ranksearch.costs import Budget
from ranksearch.planning import Plan, Problem, analytic
from ranksearch.tasks import Task


class Random(nn.Module):
    """A model that draws in training from torch's generator."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.dropout = model, nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.model(self.dropout(x))
        return found


@pytest.fixture(autouse=True)
def _every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SECONDS", 0.0)


@pytest.fixture
def task(tiny_task: Task) -> Task:
    return replace(tiny_task, batch_size=32)


def trained(
    task: Task, place: KeptTraining | None = None, stop_at: int | None = None
) -> tuple[nn.Module, list[int]]:
    """The model after four epochs, or what there is at a step, and the steps that were made."""
    steps: list[int] = []

    def on_step(step: int, loss: float) -> None:
        steps.append(step)
        if step == stop_at:
            raise KeyboardInterrupt

    model = Random(copy.deepcopy(task.model))
    try:
        finetune(
            model,
            task.model,
            task,
            steps=4 * steps_per_epoch(task),
            seed=3,
            config=FinetuneConfig(lr=3e-3, augment=True),
            on_step=on_step,
            kept=place,
        )
    except KeyboardInterrupt:
        assert stop_at is not None
    return model, steps


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_goes_on_as_if_nobody_had_interrupted_it(task: Task, tmp_path: Path) -> None:
    epoch = steps_per_epoch(task)
    assert epoch > 1
    whole, _ = trained(task)
    place = KeptTraining(tmp_path / "new" / "state.pt", "key")
    trained(task, place, stop_at=2 * epoch + 1)
    found, steps = trained(task, KeptTraining(place.path, "key"))
    assert steps == list(range(2 * epoch + 1, 4 * epoch + 1))
    assert same(found, whole)


def test_a_finished_training_is_found(task: Task, tmp_path: Path) -> None:
    whole, _ = trained(task, KeptTraining(tmp_path / "state.pt", "key"))
    found, steps = trained(task, KeptTraining(tmp_path / "state.pt", "key"))
    assert steps == []
    assert same(found, whole)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def other_model(path: Path) -> None:
    state = torch.load(path, weights_only=True)
    state["model"] = {"weight": torch.zeros(3)}
    torch.save(state, path)


def other_schedule(path: Path) -> None:
    """What is wrong is found late, when the weights are in the model."""
    state = torch.load(path, weights_only=True)
    del state["generators"]
    torch.save(state, path)


@pytest.mark.parametrize(
    "damage", [cut, other_model, other_schedule, lambda path: path.write_text("no state")]
)
def test_a_damaged_state_begins_anew(
    task: Task, tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    whole, _ = trained(task)
    path = tmp_path / "state.pt"
    trained(task, KeptTraining(path, "key"), stop_at=2 * steps_per_epoch(task))
    damage(path)
    with caplog.at_level(logging.WARNING):
        found, steps = trained(task, KeptTraining(path, "key"))
    assert "the training begins anew" in caplog.text
    assert steps[0] == 1
    assert same(found, whole)


def test_a_state_of_something_else_does_not_count(task: Task, tmp_path: Path) -> None:
    trained(task, KeptTraining(tmp_path / "state.pt", "one"), stop_at=2 * steps_per_epoch(task))
    _, steps = trained(task, KeptTraining(tmp_path / "state.pt", "another"))
    assert steps[0] == 1


def test_short_trainings_write_nothing(task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SECONDS", 3600.0)
    trained(task, KeptTraining(tmp_path / "state.pt", "key"))
    assert not [*tmp_path.iterdir()]


@pytest.fixture(scope="module")
def plan(tiny_problem: Problem) -> Plan:
    return tiny_problem.plan(analytic(tiny_problem.tables, Budget.of(tiny_problem.dense, 0.5)))


@pytest.mark.parametrize("rounds", [1, 2])
def test_a_compression_goes_on(tiny_task: Task, plan: Plan, tmp_path: Path, rounds: int) -> None:
    """Its factorisation is made again; of its trainings those that were finished are found."""
    task = replace(tiny_task, batch_size=32)
    config = CompressConfig(iterations=3, epochs=4, match_epochs=2, rounds=rounds)
    whole = compress(task, plan, config=config)
    heard: list[tuple[str, int]] = []

    def on_loss(stage: str, step: int, value: float) -> None:
        heard.append((stage, step))
        if len(heard) == stop_at:
            raise KeyboardInterrupt

    stop_at = 0
    compress(task, plan, config=config, on_loss=on_loss)
    count = len(heard)
    for stop_at in (count // 3, 2 * count // 3):
        heard.clear()
        with pytest.raises(KeyboardInterrupt):
            compress(task, plan, config=config, on_loss=on_loss, kept=tmp_path)
        stop_at = 0
    heard.clear()
    found = compress(task, plan, config=config, on_loss=on_loss, kept=tmp_path)
    assert len(heard) < count
    assert same(found.model, whole.model)
    assert found.delivered == whole.delivered
