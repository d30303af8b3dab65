"""A task: the trained model, the data that each step may see, the loss, and the metric of the final evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from ranksearch.losses import CROSS_ENTROPY, Loss
from ranksearch.splits import Splits

MetricFn = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs (N, …) and targets (N, …) to one score per example, (N,); higher is better."""


def top1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Top-1 accuracy in per cent, per example: outputs (N, C), targets (N,) → (N,)."""
    return (outputs.argmax(dim=1) == targets).float() * 100


@dataclass(frozen=True)
class Task:
    """What is compressed, on which data.

    `train` and `test` yield (input, target) pairs, or bare inputs where there are no labels; `splits` says
    which of the training images serve what, `validation` is None where it is cut from `train`.
    The model is never changed: every step works on copies.
    """

    model: nn.Module
    train: Dataset[Any]
    splits: Splits
    validation: Dataset[Any] | None = None
    test: Dataset[Any] | None = None
    loss: Loss = CROSS_ENTROPY
    metric_fn: MetricFn = top1
    metric_name: str = "top1"
    model_name: str | None = None
    """Where the model comes from (`torchvision:resnet18`), so that a compressed one can be loaded by itself."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 128
    workers: int = 0
