"""The data of a task: labels of all sorts and none, sets that are empty, images that change."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from ranksearch.errors import InputError
from ranksearch.probing import pick_images
from ranksearch.tasks import Role, Task, evaluate
from ranksearch.tasks.splits import Splits

SPLITS = Splits(seed=0, moments=(0, 1, 2, 3), divergence=(4, 5), finetune=(6, 7), validation=(8, 9))


class Listed(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Flipped(Listed):
    """Every other input the other way round, as random augmentation gives."""

    def __getitem__(self, index: int) -> Any:
        input = super().__getitem__(index)[0] + torch.arange(3)
        return input.flip(0) if torch.rand(()) < 0.5 else input, 0


def items(target: Any = ()) -> list[Any]:
    return [(torch.full((3,), float(k)), *target) for k in range(10)]


def task(train: Any, **options: Any) -> Task:
    return Task(nn.Linear(3, 2), train, splits=SPLITS, **options)


@pytest.mark.parametrize("data", [items(), items((None,)), [x for (x,) in items()]])
def test_without_labels(data: list[Any]) -> None:
    made = task(Listed(data))
    assert made.inputs("moments")[:, 0].tolist() == [0, 1, 2, 3]
    ((inputs, targets),) = made.batches("finetune")
    assert inputs[:, 0].tolist() == [6, 7]
    assert targets is None
    assert evaluate(made.model, made, "validation") is None


@pytest.mark.parametrize("data", [items(), items((None,)), [x for (x,) in items()]])
def test_a_probe_without_labels(data: list[Any]) -> None:
    found = pick_images(task(Listed(data)), "validation", 5, seed=0)
    assert found.targets is None
    assert found.inputs[:, 0].tolist() == [8, 9]


@pytest.mark.parametrize("target", [1, torch.tensor(1)])
def test_labels_are_numbers_or_tensors(target: Any) -> None:
    ((_, targets),) = task(Listed(items((target,)))).batches("finetune")
    assert targets is not None
    assert targets.tolist() == [1, 1]


@pytest.mark.parametrize(("target", "kind"), [("cat", "list"), ({"label": 1}, "dict")])
def test_other_labels_are_refused_where_they_are_read(target: Any, kind: str) -> None:
    made = task(Listed(items((target,))))
    assert len(made.inputs("moments")) == 4
    with pytest.raises(
        InputError, match=f"finetune data: expected targets that are one number .*, got {kind}"
    ):
        next(made.batches("finetune"))


@pytest.mark.parametrize("role", ["validation", "test"])
def test_a_set_without_examples_is_none(role: Role) -> None:
    made = task(Listed(items((1,))), **{role: Listed([])})
    assert made.dataset(role) is None
    assert evaluate(made.model, made, role) is None
    assert made.first(role) is None


class Streamed(IterableDataset[Tensor]):
    def __iter__(self) -> Iterator[Tensor]:
        yield torch.zeros(3)


@pytest.mark.parametrize(
    "data", [iter(items()), Streamed(), DataLoader(TensorDataset(torch.zeros(10, 3)), batch_size=2)]
)
def test_data_that_cannot_be_indexed_are_refused(data: Any) -> None:
    with pytest.raises(InputError, match="train data: expected a map-style dataset with a length"):
        task(data)
    with pytest.raises(InputError, match="test data: expected a map-style dataset with a length"):
        task(Listed(items()), test=data)


def test_images_that_change_are_told_and_yet_repeat(caplog: pytest.LogCaptureFixture) -> None:
    many = Listed([(torch.full((3,), float(k)),) for k in range(60)])
    splits = Splits(seed=0, moments=tuple(range(40)), divergence=(40,), finetune=(), validation=())
    first, again, other = (
        Task(nn.Linear(3, 2), Flipped(many.items), splits=splits, seed=seed) for seed in (1, 1, 2)
    )
    state = torch.get_rng_state()
    with caplog.at_level(logging.WARNING):
        assert torch.equal(first.inputs("moments"), again.inputs("moments"))
    assert "examples differ each time they are read" in caplog.text
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(first.inputs("moments"), other.inputs("moments"))
    caplog.clear()
    holed = [(torch.full((3,), torch.nan), 0) for _ in range(10)]
    for data in (items(), holed):
        assert len(task(Listed(data)).inputs("moments")) == 4
    assert not caplog.text


def test_a_cache_may_be_named_by_a_string(tmp_path: Path) -> None:
    assert task(Listed(items()), cache=str(tmp_path)).cache == tmp_path
