"""A task: the trained model, the data that each step may see, the loss, and the metric of the final evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from ranksearch.cache import digest
from ranksearch.errors import InputError, expected
from ranksearch.losses import CROSS_ENTROPY, Loss, MetricFn
from ranksearch.splits import Splits, make_splits

Role = Literal["moments", "divergence", "finetune", "validation", "test"]


@dataclass(frozen=True)
class Task:
    """What is compressed, on which data.

    `train`, `validation` and `test` yield (input, target) pairs; (input,) or bare inputs where there are no labels.
    `splits` says which of the training images serve what; where it is None it is made from `seed`,
    `calibration_size` and, without a `validation` set, `val_split`. The model is never changed: every step
    works on copies.
    """

    model: nn.Module
    train: Dataset[Any]
    validation: Dataset[Any] | None = None
    test: Dataset[Any] | None = None
    splits: Splits = None  # type: ignore[assignment]  # made in __post_init__
    loss: Loss = CROSS_ENTROPY
    metric_fn: MetricFn = None  # type: ignore[assignment]  # the loss's own, from __post_init__
    model_name: str | None = None
    """Where the model comes from (`torchvision:resnet18`), so that a compressed one can be loaded by itself."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    batch_size: int = 128
    workers: int = 0
    seed: int = 0
    calibration_size: int = 1536
    val_split: float = 0.1
    cache: Path | None = None
    """Folder where moments and candidates are kept, so that the next run need not compute them; None keeps none."""

    def __post_init__(self) -> None:
        if self.splits is None:
            splits = make_splits(
                len(cast(Sized, self.train)),
                calibration_size=self.calibration_size,
                val_split=self.val_split if self.validation is None else 0.0,
                seed=self.seed,
            )
            object.__setattr__(self, "splits", splits)
        if self.metric_fn is None:
            object.__setattr__(self, "metric_fn", self.loss.metric_fn)
        object.__setattr__(self, "_cache", {})
        object.__setattr__(self, "_digests", {})

    def with_model(self, model: nn.Module) -> Task:
        """The task for another model with the same inputs and outputs, for a while: nothing of it goes to the cache."""
        other = replace(self, model=model, cache=None)
        for name in ("_cache", "_digests"):  # the images are the same: none is read anew
            object.__setattr__(other, name, getattr(self, name))
        return other

    def dataset(self, role: Role) -> Dataset[Any] | None:
        """The data of a role; None where there is none."""
        if role == "test":
            return self.test
        if role == "validation" and self.validation is not None:
            return self.validation
        indices = getattr(self.splits, role)
        return Subset(self.train, indices) if indices else None

    def loader(self, role: Role, *, shuffle_seed: int | None = None) -> DataLoader[Any]:
        """Batches of a role; shuffled, without a smaller last batch, where `shuffle_seed` is given."""
        dataset = self.dataset(role)
        if dataset is None:
            raise InputError(expected(f"{role} data", "at least one example", "none"))
        shuffle = shuffle_seed is not None
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            drop_last=shuffle and len(cast(Sized, dataset)) >= self.batch_size,
            num_workers=self.workers,
            generator=torch.Generator().manual_seed(shuffle_seed or 0),
        )

    def batches(
        self, role: Role, *, shuffle_seed: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """(inputs, targets) on the task's device, targets None where the data has no labels."""
        for batch in self.loader(role, shuffle_seed=shuffle_seed):
            inputs, targets = (*batch, None)[:2] if isinstance(batch, list | tuple) else (batch, None)
            yield inputs.to(self.device), None if targets is None else targets.to(self.device)

    def inputs(self, role: Role) -> Tensor:
        """All inputs of a role as one tensor on the CPU, (N, …); read once and kept, for the calibration roles."""
        cache: dict[Role, Tensor] = self._cache  # type: ignore[attr-defined]
        if role not in cache:
            cache[role] = torch.cat([inputs.cpu() for inputs, _ in self.batches(role)])
        return cache[role]

    def inputs_digest(self, role: Role) -> str:
        """What tells the inputs of a role from others; made once."""
        digests: dict[Role, str] = self._digests  # type: ignore[attr-defined]
        if role not in digests:
            digests[role] = digest(self.inputs(role))
        return digests[role]

    @property
    def example(self) -> Tensor:
        """One input as a batch of size 1: costs are measured on it."""
        item = self.train[self.splits.moments[0]]
        tensor = item[0] if isinstance(item, list | tuple) else item
        if not isinstance(tensor, Tensor):
            way_out = "Wrap data and model so that one tensor goes in."
            wanted = "examples whose input is one tensor"
            raise InputError(expected("training data", wanted, type(tensor).__name__, way_out))
        return tensor.unsqueeze(0)
