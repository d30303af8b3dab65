"""What tasks are measured by, beside the losses: scores of single examples, and scores of all examples together.

Mean IoU, perplexity and R² are not means over examples. Their sums over examples are added up first; the scores of
single examples are then jackknife pseudo-values (Efron & Tibshirani 1993, An Introduction to the Bootstrap, ch. 11), so
that standard errors and paired differences are had as for any other metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ranksearch.keywords import checks_keywords
from ranksearch.tasks.losses import VOID, binary_accuracy, classes_of, like, nll, top1


@checks_keywords
@dataclass(frozen=True)
class Metric:
    """A metric by name; higher is better.

    parts(outputs, targets): (N, …), (N, …) → one score per example, (N,), or K sums, (N, K), of which `of` makes the
    score of all examples together, (…, K) → (…); None where the scores of examples are averaged. label: for tables.
    """

    name: str
    label: str
    parts: Callable[[Tensor, Tensor], Tensor]
    of: Callable[[Tensor], Tensor] | None = None

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The score of each example by itself, (N,)."""
        found = self.parts(outputs, targets)
        return found if self.of is None else self.of(found.double())

    def spread(self, parts: Tensor) -> Tensor:
        """Scores of examples, (N,), whose mean is that of all together."""
        if self.of is None:
            return parts
        parts = parts.double()
        total, count = parts.sum(dim=0), len(parts)
        whole = self.of(total)
        if count < 2:
            return whole.expand(count)
        pseudo = count * whole - (count - 1) * self.of(total - parts)
        return pseudo + (whole - pseudo.mean())


def _valid(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(predicted, wanted, whether it counts), each (N, P), of outputs (N, C, …)."""
    wanted = classes_of(outputs, targets)
    wanted = wanted.argmax(dim=1) if wanted.is_floating_point() else wanted
    predicted = outputs.argmax(dim=1).reshape(len(outputs), -1)
    wanted = wanted.reshape(len(outputs), -1)
    return predicted, wanted, wanted != VOID


def _token_parts(outputs: Tensor, targets: Tensor) -> Tensor:
    predicted, wanted, counts = _valid(outputs.movedim(-1, 1), targets)
    return torch.stack([((predicted == wanted) & counts).sum(dim=1), counts.sum(dim=1)], dim=1)


def _per_cent(sums: Tensor) -> Tensor:
    right, count = sums.unbind(dim=-1)
    accuracy: Tensor = right / count.clamp_min(1)
    return 100 * accuracy


def _next_parts(outputs: Tensor, targets: Tensor) -> Tensor:
    logits, wanted = outputs.movedim(-1, 1)[..., :-1], classes_of(outputs.movedim(-1, 1), targets)[:, 1:]
    return torch.stack([nll(logits, wanted).double(), (wanted != VOID).flatten(1).sum(dim=1).double()], dim=1)


def _minus_perplexity(sums: Tensor) -> Tensor:
    nats, count = sums.unbind(dim=-1)
    return -torch.exp(nats / count.clamp_min(1))


def _overlaps(outputs: Tensor, targets: Tensor) -> Tensor:
    """Sizes of intersections and of unions, by class: (N, 2 C)."""
    predicted, wanted, counts = _valid(outputs, targets)
    classes = outputs.shape[1]

    def histogram(labels: Tensor, where: Tensor) -> Tensor:
        found = torch.zeros(len(labels), classes, dtype=torch.float64, device=labels.device)
        return found.scatter_add_(1, labels.where(where, 0), where.double())

    both = histogram(wanted, counts & (predicted == wanted))
    union = histogram(wanted, counts) + histogram(predicted, counts) - both
    return torch.cat([both, union], dim=1)


def _mean_iou(sums: Tensor) -> Tensor:
    both, union = sums.unflatten(-1, (2, -1)).unbind(-2)
    overlaps: Tensor = (both / union.clamp_min(1)).sum(dim=-1)
    classes: Tensor = (union > 0).sum(dim=-1).clamp_min(1)
    return overlaps * 100 / classes


def psnr(outputs: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB of images from 0 to 1, per example: (N, …), (N, …) → (N,)."""
    squares = (outputs - like(outputs, targets)).double().square().flatten(1)
    return -10 * squares.nanmean(dim=1).clamp_min(1e-12).log10()


def _squares(outputs: Tensor, targets: Tensor) -> Tensor:
    """Σ(y - o)², Σy, Σy² and how many, for each output of an example that has a few, (N, 4 D); else for all, (N, 4)."""
    wanted, found = like(outputs, targets).double(), outputs.double()
    columns = wanted.shape[1] if wanted.dim() == 2 else 1
    wanted, found = (x.reshape(len(x), -1, columns) for x in (wanted, found))
    counts = ~wanted.isnan()
    y = wanted.nan_to_num()
    parts = (((y - found) ** 2).where(counts, 0), y, y**2, counts.double())
    return torch.stack([p.sum(dim=1) for p in parts], dim=1).flatten(1)


def _r2(sums: Tensor) -> Tensor:
    residual, first, second, count = sums.unflatten(-1, (4, -1)).unbind(-2)
    spread = (second - first**2 / count.clamp_min(1)).clamp_min(1e-12)
    explained: Tensor = 1 - residual / spread
    return explained.mean(dim=-1)


def cosine(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cosine of outputs and targets (N, …, D), its mean over positions: (N,)."""
    found = F.cosine_similarity(outputs, like(outputs, targets), dim=-1)
    return found.flatten(1).mean(dim=1) if found.dim() > 1 else found


def _decisions(outputs: Tensor, targets: Tensor) -> Tensor:
    """Right yeses, and all yeses said or wanted: (N, 2)."""
    wanted = like(outputs, targets)
    counts, said, right = ~wanted.isnan(), outputs > 0, wanted > 0.5
    parts = ((said & right & counts), (said & counts).int() + (right & counts).int())
    return torch.stack([p.reshape(len(p), -1).sum(dim=1) for p in parts], dim=1)


def _f1(sums: Tensor) -> Tensor:
    right, count = sums.unbind(dim=-1)
    return 100 * (2 * right / count.clamp_min(1))


TOP1 = Metric("top1", "top-1 %", top1)
BINARY_ACCURACY = Metric("binary_accuracy", "accuracy %", binary_accuracy)
TOKEN_ACCURACY = Metric("token_accuracy", "token accuracy %", _token_parts, _per_cent)
PERPLEXITY = Metric("perplexity", "minus perplexity", _next_parts, _minus_perplexity)
MEAN_IOU = Metric("miou", "mIoU %", _overlaps, _mean_iou)
F1 = Metric("f1", "F1 %", _decisions, _f1)
PSNR = Metric("psnr", "PSNR dB", psnr)
R2 = Metric("r2", "R²", _squares, _r2)
COSINE = Metric("cosine", "cosine", cosine)
