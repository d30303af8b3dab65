"""Data that few people hand in: NaN in images, labels that are no classes, few examples, kernels all but zero."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import ranksearch
from ranksearch.compression import CompressConfig
from ranksearch.compression.training import FinetuneConfig
from ranksearch.errors import InputError, NonFiniteError
from ranksearch.searching.baselines import ALLOCATORS
from ranksearch.tasks import CROSS_ENTROPY, Task, evaluate
from ranksearch.tasks.losses import top1


def images(count: int = 60) -> Tensor:
    return torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def task_of(inputs: Tensor, targets: Tensor | None = None, **options: Any) -> Task:
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )
    labels = torch.arange(len(inputs)) % 4 if targets is None else targets
    return Task(made.eval(), TensorDataset(inputs, labels), **options)


def in_words(places: tuple[int, ...]) -> str:
    return ", ".join(map(str, sorted(places)))


@pytest.mark.parametrize("role", ["moments", "divergence"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_images_that_are_not_finite_are_named(role: str, value: float) -> None:
    inputs = images()
    places = getattr(task_of(inputs).splits, role)[1:3]
    inputs[list(places), 0, 2, 2] = value
    with pytest.raises(
        NonFiniteError, match=f"training data, examples {in_words(places)}: expected finite numbers"
    ):
        ranksearch.search(task_of(inputs), 0.7)


def test_images_that_a_model_overflows_on_are_named() -> None:
    inputs = images()
    task = task_of(inputs, batch_size=4)
    places = task.splits.moments[9:10]
    inputs[list(places)] *= 1e30
    task.model.append(Power())
    message = (
        f"model, on training data, example {in_words(places)}: expected finite outputs, got NaN or infinity"
    )
    with pytest.raises(NonFiniteError, match=message):
        ranksearch.search(task, 0.7)


class Power(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x**3


def test_images_that_are_not_finite_matter_only_where_they_come_through() -> None:
    inputs = images()
    inputs[::3, 0, 0, 0] = float("nan")
    task = task_of(inputs)
    task.model.insert(0, Finite())
    assert ranksearch.search(task, 0.8).plan.choices


class Finite(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.nan_to_num()


def test_training_goes_without_images_that_spoil_it(caplog: pytest.LogCaptureFixture) -> None:
    inputs = images()
    inputs[list(task_of(inputs).splits.finetune)] = float("nan")
    task = task_of(inputs)
    done = ranksearch.compress(
        task, ranksearch.search(task, 0.7).plan, config=CompressConfig(iterations=3, epochs=1)
    )
    assert done.finetuned is None
    assert "expected images for which the dense model gives finite outputs" in caplog.text


# --- labels

LABELS = {
    "int32": torch.arange(60, dtype=torch.int32) % 4,
    "bool": torch.arange(60) % 2 == 0,
    "whole floats": (torch.arange(60) % 4).float(),
    "one-hot": F.one_hot(torch.arange(60) % 4),
    "a column": (torch.arange(60) % 4)[:, None],
    "probabilities": torch.rand(60, 4, generator=torch.Generator().manual_seed(0)).softmax(1),
    "ignored": torch.full((60,), -100),
}
NO_LABELS = {
    "negative": (-torch.arange(60), r"classes from 0 to 3, got -\d+\. Number the classes from 0 on"),
    "too large": (torch.arange(60), r"classes from 0 to 3, got \d+\."),
    "broken": (torch.arange(60) / 2 % 3, r"classes from 0 to 3, got \d\.5\."),
    "NaN": (torch.full((60,), float("nan")), r"classes from 0 to 3, got nan\."),
    "several": (
        torch.zeros(60, 3),
        r"classes, \(\d+,\), or their probabilities, \(\d+, 4\), got the shape \(",
    ),
}
WITH_LABELS = CompressConfig(iterations=3, epochs=1, finetune=FinetuneConfig(label_weight=0.5))


@pytest.mark.parametrize("name", LABELS)
def test_labels(name: str) -> None:
    task = task_of(images(), LABELS[name])
    done = ranksearch.compress(task, ranksearch.search(task, 0.7).plan, config=WITH_LABELS)
    assert evaluate(done.model, task, "validation") is not None


@pytest.mark.parametrize("name", NO_LABELS)
def test_labels_that_are_no_classes(name: str) -> None:
    targets, message = NO_LABELS[name]
    task = task_of(images(), targets)
    with pytest.raises(InputError, match="targets: expected " + message):
        evaluate(task.model, task, "validation")
    with pytest.raises(InputError, match="targets: expected " + message):
        ranksearch.compress(task, ranksearch.search(task, 0.7).plan, config=WITH_LABELS)


def test_labels_of_all_forms_mean_the_same() -> None:
    outputs = torch.randn(60, 4, generator=torch.Generator().manual_seed(1))
    wanted = top1(outputs, torch.arange(60) % 4), CROSS_ENTROPY.value(outputs, torch.arange(60) % 4)
    for name in ("int32", "whole floats", "one-hot", "a column"):
        torch.testing.assert_close(top1(outputs, LABELS[name]), wanted[0])
        torch.testing.assert_close(CROSS_ENTROPY.value(outputs, LABELS[name]), wanted[1])


def failing(outputs: Tensor, targets: Tensor) -> Tensor:
    raise ValueError("boom")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (failing, r"metric failing: expected one score per example, \(6,\), for .* got ValueError: boom"),
        (lambda outputs, targets: outputs.sum(), r"one score per example, \(6,\), got \(\)"),
        (lambda outputs, targets: 1.0, r"one score per example, \(6,\), got float"),
    ],
)
def test_metrics_that_do_not_score_examples(metric: Any, message: str) -> None:
    task = task_of(images(), metric_fn=metric)
    with pytest.raises(InputError, match=message):
        evaluate(task.model, task, "validation")
    with pytest.raises(InputError, match="one score per example"):
        ranksearch.search(task, 0.7)  # before anything long, as on the command line


# --- extremes


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_examples(count: int) -> None:
    with pytest.raises(InputError, match=r"enough images to calibrate on \(6 or more"):
        task_of(images(count))


@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-30, 1e-20, 1e10])
@pytest.mark.parametrize("allocator", ALLOCATORS.names())
def test_kernels_all_but_zero_and_huge(scale: float, allocator: str) -> None:
    """Beside a kernel of the usual size, so that outputs differ."""
    task = task_of(images(24))
    task.model.insert(3, Beside(scale))
    result = ranksearch.search(task, 0.9, allocator=allocator, decompositions=["svd", "tucker2"])
    done = ranksearch.compress(task, result.plan, config=CompressConfig(iterations=3, epochs=0))
    assert bool(torch.isfinite(task.outputs(done.model, task.inputs("divergence"))).all())


class Beside(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.odd, self.scale = nn.Conv2d(8, 8, 1, bias=False), scale
        with torch.no_grad():
            self.odd.weight.mul_(scale)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.odd(x) / max(1.0, self.scale)
