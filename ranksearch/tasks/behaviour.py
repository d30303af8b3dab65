"""How a compressed model behaves beside the dense one: what it answers differently, example by example."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ranksearch.glance import AtAGlance
from ranksearch.networks import forward, size
from ranksearch.progress import Ticks, no_ticks
from ranksearch.tasks.losses import top1
from ranksearch.tasks.paired import Drop
from ranksearch.tasks.scores import Estimate, counting, evaluating, parts_of, spread
from ranksearch.tasks.task import Role, Task

BINS = 15
"""Bins of the expected calibration error."""

MOST = 5
"""How many of the classes that lost most are listed."""


@dataclass(frozen=True)
class Answers:
    """What a model answers to the examples of a role.

    scores: (N,), the task metric. targets, classes, confidences: (N,), the right classes, −1 where there is none, those
    that the model predicts, and their probabilities; None where the task is no classification with one class each.
    """

    scores: Tensor
    targets: Tensor | None = None
    classes: Tensor | None = None
    confidences: Tensor | None = None


@dataclass(frozen=True)
class ClassDrop:
    """What a class lost of its accuracy, in points, on its examples."""

    number: int
    examples: int
    drop: float


@dataclass(frozen=True)
class Predictions:
    """What becomes of a classifier's predictions.

    flips: share of examples whose predicted class changed. dense_ece, ece: expected calibration error of both models,
    from 0 to 1. classes: those whose accuracy fell most, the worst first.
    """

    flips: float
    dense_ece: float
    ece: float
    classes: tuple[ClassDrop, ...]


@dataclass(frozen=True, repr=False)
class Behaviour(AtAGlance):
    """A compressed model beside the dense one on the same examples; `predictions` is None without classes."""

    dense: Estimate
    compressed: Estimate
    drop: Drop
    predictions: Predictions | None

    def glance(self) -> dict[str, str]:
        low, high = self.drop.interval()
        rows = {
            "dense": f"{self.dense.mean:.4g} ± {self.dense.stderr:.2g}, {self.dense.count:,} examples",
            "compressed": f"{self.compressed.mean:.4g} ± {self.compressed.stderr:.2g}",
            "drop": f"{self.drop.mean:.3g} ({low:.3g} to {high:.3g} with 95 % confidence)",
        }
        if (own := self.predictions) is not None:
            worst = [f"class {x.number} by {x.drop:.3g} points" for x in own.classes[:2]]
            rows |= {
                "changed": f"{own.flips:.2%} of the predictions",
                "calibration error": f"{own.dense_ece:.3f} before, {own.ece:.3f} after",
                "fell most": ", ".join(worst) or "none",
            }
        return rows


def classifies(task: Task) -> bool:
    """Whether the outputs of a task are logits of classes, as far as its loss says."""
    return task.loss.metric is top1


def answers(
    models: Sequence[nn.Module], task: Task, role: Role, *, progress: Ticks = no_ticks
) -> list[Answers] | None:
    """The answers of several models to the data of a role, which is read once; None without data or labels."""
    if task.dataset(role) is None:
        return None
    found: list[list[Answers]] = [[] for _ in models]
    tell = counting(task, role, progress)
    with evaluating(models):
        for inputs, targets in task.batches(role):
            if targets is None:
                return None
            for model, parts in zip(models, found, strict=True):
                parts.append(_answers(task, forward(model, inputs, task.output), targets))
            tell(size(inputs))
    return [_joined(task, parts) for parts in found]


def compare_answers(dense: Answers, compressed: Answers) -> Behaviour:
    """What two models' answers to the same examples say."""
    return Behaviour(
        Estimate.of(dense.scores),
        Estimate.of(compressed.scores),
        Drop.of(dense.scores, compressed.scores),
        _predictions(dense, compressed),
    )


def calibration_error(confidences: Tensor, right: Tensor, bins: int = BINS) -> float:
    """The expected calibration error in bins of equal width (Guo et al. 2017, arXiv:1706.04599, equation 3).

    confidences: An (N,) tensor, the probability of the predicted class.
    right: An (N,) tensor, whether it is the right one.
    """
    if not len(confidences):
        return 0.0
    confidences, right = confidences.double(), right.double()
    # Bins are open on the left: (0, 1/bins], (1/bins, 2/bins], …
    index = (confidences * bins).ceil().long().sub(1).clamp(0, bins - 1)
    apart = torch.zeros(bins, dtype=torch.float64).index_add(0, index, right - confidences)
    return float(apart.abs().sum()) / len(confidences)


def _answers(task: Task, outputs: Tensor, targets: Tensor) -> Answers:
    scores = parts_of(task, outputs, targets).cpu()
    if not classifies(task) or outputs.dim() != 2:
        return Answers(scores)
    # Outputs of a broken model that are not finite answer nothing, with no confidence.
    probabilities = torch.nan_to_num(outputs.double().softmax(dim=1)).cpu()
    right = targets.argmax(dim=1) if targets.shape == outputs.shape else targets.reshape(len(outputs))
    confidences, classes = probabilities.max(dim=1)
    return Answers(scores, right.long().cpu().clamp(min=-1), classes, confidences)


def _joined(task: Task, parts: Sequence[Answers]) -> Answers:
    fields = ("scores", "targets", "classes", "confidences")
    columns = {name: [getattr(part, name) for part in parts] for name in fields}
    joined = {k: torch.cat(v) if all(x is not None for x in v) else None for k, v in columns.items()}
    scores = joined.pop("scores")
    assert scores is not None
    return Answers(spread(task, scores), **joined)


def _predictions(dense: Answers, compressed: Answers) -> Predictions | None:
    if dense.targets is None or dense.classes is None or compressed.classes is None:
        return None
    assert dense.confidences is not None
    assert compressed.confidences is not None
    known = dense.targets >= 0
    before, after = dense.classes.eq(dense.targets)[known], compressed.classes.eq(dense.targets)[known]
    return Predictions(
        float((dense.classes != compressed.classes).double().mean()),
        calibration_error(dense.confidences[known], before),
        calibration_error(compressed.confidences[known], after),
        _class_drops(dense.targets[known], before, after),
    )


def _class_drops(targets: Tensor, before: Tensor, after: Tensor) -> tuple[ClassDrop, ...]:
    count = int(targets.max()) + 1 if len(targets) else 0
    examples = torch.bincount(targets, minlength=count)
    lost = torch.zeros(count, dtype=torch.float64).index_add(0, targets, before.double() - after.double())
    drops = [
        ClassDrop(number, int(examples[number]), 100 * float(lost[number]) / int(examples[number]))
        for number in range(count)
        if lost[number] > 0
    ]
    return tuple(sorted(drops, key=lambda found: (-found.drop, found.number))[:MOST])
