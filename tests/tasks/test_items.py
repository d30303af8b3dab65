"""Examples taken apart into inputs and targets, by what the model's forward takes."""

from __future__ import annotations

from collections import UserDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

import ranksearch
from ranksearch.compression import CompressConfig
from ranksearch.compression.training import FinetuneConfig
from ranksearch.errors import InputError
from ranksearch.tasks import Reader, Task, evaluate

X, Y, M = torch.ones(3), torch.zeros(3), torch.tensor([1, 1, 0])


class One(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class Two(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Masked(nn.Module):
    def forward(self, ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        return ids


class Needy(nn.Module):
    def forward(self, *, x: Tensor, labels: Tensor) -> Tensor:
        return x


PAIRS: dict[str, tuple[nn.Module, Any, Any, Any]] = {
    "bare": (One(), X, X, None),
    "pair": (One(), (X, 1), X, 1),
    "with an index": (One(), (X, 1, 7), X, 1),
    "nested": (Two(), ((X, Y), 1), (X, Y), 1),
    "flat": (Two(), (X, Y, 1), (X, Y), 1),
    "two without a target": (Two(), (X, Y), (X, Y), None),
    "ids and mask": (Masked(), (X, M, 1), (X, M), 1),
    "ids and a target": (Masked(), (X, M), X, M),
    "dict": (One(), {"x": X, "labels": 1}, {"x": X}, 1),
    "dict in a pair": (One(), ({"x": X}, 1), {"x": X}, 1),
    "a dict of another kind": (One(), UserDict(x=X, label=2), {"x": X}, 2),
    "labels that are needed": (Needy(), {"x": X, "labels": 1}, {"x": X, "labels": 1}, None),
    "texts": (One(), {"x": X, "text": "hello"}, {"x": X}, None),
}


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(name: str) -> None:
    model, item, inputs, target = PAIRS[name]
    found = Reader.of(model).pair(item)
    assert repr(found) == repr((inputs, target))


def test_lists_of_numbers_are_tensors() -> None:
    inputs, targets = Reader().batch(
        [{"ids": [1, 2, 3], "labels": [0, 1]}, {"ids": [4, 5, 6], "labels": [1, 1]}]
    )
    assert inputs["ids"].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert targets.tolist() == [[0, 1], [1, 1]]


def test_examples_of_several_shapes_are_told() -> None:
    with pytest.raises(InputError, match=r"data: expected examples that go into one batch, .* `collate`"):
        Reader().batch([(torch.zeros(3), 0), (torch.zeros(4), 0)])


class Tagger(nn.Module):
    """A class for each token; padding has a large embedding, to be seen where it is not left out."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(9, 8)
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 5)
        with torch.no_grad():
            self.embed.weight[0] = 20.0

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        return {"logits": self.last(self.first(self.embed(input_ids)).relu()) * 3, "loss": None}


def sentences(count: int = 60) -> list[dict[str, Tensor]]:
    g = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, 9, (count,), generator=g).tolist()
    return [
        {"input_ids": (ids := torch.randint(1, 9, (n,), generator=g)), "labels": ids % 5} for n in lengths
    ]


def padded(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    ids = pad_sequence([item["input_ids"] for item in items], batch_first=True)
    labels = pad_sequence([item["labels"] for item in items], batch_first=True, padding_value=0)
    return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels}


def otherwise(items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The same with another token, and other labels, as padding."""
    made = padded(items)
    padding = made["attention_mask"] == 0
    return made | {
        "input_ids": made["input_ids"].masked_fill(padding, 7),
        "labels": made["labels"] + 3 * padding,
    }


def tagging(collate: Any, **options: Any) -> Task:
    data = sentences()
    options = {"loss": "token_cross_entropy", "batch_size": 8, "calibration_size": 24} | options
    return Task(Tagger().eval(), data, test=data[:20], collate=collate, **options)  # type: ignore[arg-type]


def test_padding_enters_nothing() -> None:
    """Plans, divergences and metrics do not depend on what padding is made of."""
    tasks = tagging(padded), tagging(otherwise)
    results = [ranksearch.search(task, 0.6) for task in tasks]
    assert results[0].plan == results[1].plan
    config = CompressConfig(iterations=5, epochs=1, finetune=FinetuneConfig(label_weight=0.5))
    done = [ranksearch.compress(task, r.plan, config=config) for task, r in zip(tasks, results, strict=True)]
    assert done[0].delivered == done[1].delivered
    scores = [evaluate(one.model, task, "test") for one, task in zip(done, tasks, strict=True)]
    assert scores[0] == scores[1] is not None


def test_padding_counts_where_no_mask_is_seen() -> None:
    """The same data without the mask, so that the test above cannot pass by itself."""
    errors = [
        ranksearch.search(tagging(collate, mask=lambda inputs: None), 0.6).plan.error
        for collate in (padded, otherwise)
    ]
    assert errors[0] != pytest.approx(errors[1], rel=1e-2)


def test_all_calibration_inputs_have_one_length() -> None:
    """Batches that are padded each to a length of its own could not be joined."""
    task = tagging(padded)
    lengths = {task.inputs(role)["input_ids"].shape[1] for role in ("moments", "divergence")}
    assert len(lengths) == 1
    first = task.dataset("moments")[0]["input_ids"]  # type: ignore[index]
    assert torch.equal(task.inputs("moments")["input_ids"][0, : len(first)], first)


def test_training_by_labels_leaves_padding_out() -> None:
    task = tagging(padded)
    (inputs, targets), *_ = task.batches("finetune")
    assert targets is not None
    assert bool(((targets == -100) == (inputs["attention_mask"] == 0)).all())


def test_a_mask_taken_for_a_target_is_refused() -> None:
    data = [(item["input_ids"].new_ones(6), torch.tensor([1, 1, 1, 1, 0, 0])) for item in sentences()]
    task = Task(Tagger().eval(), data, calibration_size=24)  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"targets that look like masks of the inputs\. Write \(\(ids, mask\), target\)"
    ):
        ranksearch.search(task, 0.6)
