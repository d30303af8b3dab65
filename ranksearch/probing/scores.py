"""Scores of outputs: the task's metric, its loss, and the divergence from the dense model."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ranksearch.errors import InputError, expected
from ranksearch.networks import Batch, to
from ranksearch.tasks import Estimate, Role, Task, divergence, example_scores

_SHUFFLES = 16


@dataclass(frozen=True)
class ProbeImages:
    """A fixed subset of a role's images: inputs, N of them, on the CPU, targets (N, …) or None, their indices there."""

    role: Role
    inputs: Batch
    targets: Tensor | None
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Scores:
    """Means over the images with their standard errors; accuracy, drop and loss are None without labels.

    accuracy is the task's metric, of whatever kind; drop is how far it is below the dense model's on the same
    images, a paired difference with a smaller standard error; kl is the divergence from the dense outputs.
    """

    accuracy: Estimate | None
    drop: Estimate | None
    loss: Estimate | None
    kl: Estimate


def pick_images(task: Task, role: Role, count: int, *, seed: int) -> ProbeImages:
    """`count` images of a role, drawn without replacement with `seed`; all if there are fewer."""
    dataset = task.dataset(role)
    if dataset is None:
        raise InputError(expected("images_from", "a role with images", f"{role}, which has none"))
    size = len(cast(Sized, dataset))
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).tolist()
    indices = tuple(sorted(order[:count]))
    inputs, targets = task.placed(role, *task.read([dataset[k] for k in indices]))
    return ProbeImages(role, to(inputs, "cpu"), None if targets is None else targets.cpu(), indices)


class Judge:
    """Scores outputs on fixed images against the dense outputs (N, …); knows the score at chance level.

    chance: the score of outputs that are unrelated to their image, the dense outputs randomly shuffled among
    the images: the metric with labels, the divergence without.
    """

    def __init__(self, task: Task, images: ProbeImages, dense: Tensor) -> None:
        self._task = task
        self._dense = dense
        self._targets = None if images.targets is None else images.targets.to(dense.device)
        generator = torch.Generator().manual_seed(0)
        dealt = [torch.randperm(len(dense), generator=generator).to(dense.device) for _ in range(_SHUFFLES)]
        if self._targets is not None:
            self._own = example_scores(task, dense, self._targets).double()
            guesses = torch.stack(
                [example_scores(task, dense[d], self._targets).double().mean() for d in dealt]
            )
        else:
            guesses = torch.stack([task.loss.divergence(dense, dense[d], 1.0).double().mean() for d in dealt])
        self.chance = float(guesses.mean())
        self.dense = self.scores(dense)

    def scores(self, outputs: Tensor) -> Scores:
        """Scores of outputs (N, …)."""
        kl = divergence(self._dense, outputs, self._task.loss)
        if self._targets is None:
            return Scores(None, None, None, kl)
        accuracy = example_scores(self._task, outputs, self._targets).double()
        loss = torch.nan_to_num(self._task.loss.value(outputs, self._targets), nan=torch.inf)
        return Scores(Estimate.of(accuracy), Estimate.of(self._own - accuracy), Estimate.of(loss), kl)

    def at_chance(self, scores: Scores) -> bool:
        """Whether the scores are at chance level, within two standard errors."""
        if scores.accuracy is None:
            return scores.kl.mean >= self.chance
        return scores.accuracy.mean <= self.chance + 2 * scores.accuracy.stderr
