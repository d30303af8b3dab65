"""Losses as ranksearch needs them: a value, targets drawn from the model's own output, and a divergence.

The moments need gradients of a loss at targets sampled from the model (the true Fisher information, Martens
& Grosse 2015), so that no labels are needed; scoring and distillation need a divergence of outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ranksearch.errors import InputError, expected
from ranksearch.keywords import checks_keywords
from ranksearch.networks import Batch

MetricFn = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs (N, …) and targets (N, …) to one score per example, (N,); higher is better."""


@checks_keywords
@dataclass(frozen=True)
class Loss:
    """A negative log-likelihood and what follows from it.

    value(outputs, targets): loss per example, (N, …), (N, …) → (N,).
    sample(outputs, generator): targets drawn from the model's own predictive distribution, (N, …) → (N, …).
    divergence(dense, compressed, temperature): of two outputs per example, (N, …), (N, …) → (N,); in units of
    the loss and without the factor T² at temperature T.
    metric: what a task is measured by that names no metric of its own; None for the value, negated.
    axis: which axis of the outputs holds the classes, 1 or -1; None where targets are numbers, one for each output.
    softens: whether outputs divided by a temperature predict less sharply.
    own_targets(inputs): targets that the inputs themselves are, where the data has none.
    of_samples(outputs, targets): what moments are gradients of, at targets that were drawn, where that is not `value`.
    parts: the losses of single outputs that it is a sum of.

    Targets that are to count for nothing are -100 as classes and NaN as numbers.
    """

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    sample: Callable[[Tensor, Generator], Tensor]
    divergence: Callable[[Tensor, Tensor, float], Tensor]
    metric: MetricFn | None = None
    axis: int | None = None
    softens: bool = True
    own_targets: Callable[[Batch], Tensor | None] | None = None
    of_samples: Callable[[Tensor, Tensor], Tensor] | None = None
    parts: tuple[Loss, ...] = ()

    @property
    def metric_fn(self) -> MetricFn:
        """The metric, higher is better."""
        if self.metric is not None:
            return self.metric

        def negated(outputs: Tensor, targets: Tensor) -> Tensor:
            return -self.value(outputs, targets)

        negated.__name__ = f"minus {self.name}"
        return negated


def top1(outputs: Tensor, targets: Tensor) -> Tensor:
    """Top-1 accuracy in per cent, per example: outputs (N, C, …), targets (N, …) → (N,).

    Of targets (N, C, …), the probabilities of the classes, the largest counts. Of several predictions per example it is
    the part that is right, among those that have a target.
    """
    wanted = classes_of(outputs, targets)
    wanted = wanted.argmax(dim=1) if wanted.is_floating_point() else wanted
    right = _logits(outputs).argmax(dim=1) == wanted
    if right.dim() == 1:
        return right.float() * 100
    count = (wanted != VOID).flatten(1).sum(dim=1).clamp_min(1)
    return right.flatten(1).sum(dim=1) / count * 100


def binary_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Part of the right decisions in per cent, per example: logits (N, …), targets of 0 and 1 → (N,)."""
    wanted = like(outputs, targets)
    right = (outputs > 0) == (wanted > 0.5)
    if (void := wanted.isnan()).any():
        counted = (~void).reshape(len(void), -1).sum(dim=1).clamp_min(1)
        return (right & ~void).reshape(len(void), -1).sum(dim=1) / counted * 100
    return right.float().flatten(1).mean(dim=1) * 100 if right.dim() > 1 else right.float() * 100


def summed(values: Tensor) -> Tensor:
    """Over all but the first axis."""
    return values.flatten(1).sum(dim=1) if values.dim() > 1 else values


def exact(tensor: Tensor) -> Tensor:
    """Half precision as single: divergences are differences of what is nearly alike."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def like(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets in the shape and dtype of the outputs, of which (N,) may stand for (N, 1) and the other way round."""
    if targets.shape != outputs.shape and (
        len(targets) != len(outputs) or targets.numel() != outputs.numel()
    ):
        raise InputError(
            expected("targets", f"the outputs' shape {tuple(outputs.shape)}", tuple(targets.shape))
        )
    return targets.reshape(outputs.shape).to(outputs.dtype)


def _logits(outputs: Tensor) -> Tensor:
    """Outputs that have classes on axis 1, (N, C, …)."""
    if outputs.dim() < 2:
        wanted = "logits of several classes, (N, C, …), for the loss cross_entropy"
        way_out = "For one logit use the loss binary_cross_entropy, for one number squared_error."
        raise InputError(expected("model", wanted, f"outputs {tuple(outputs.shape)}", way_out))
    return outputs


VOID = -100
"""The class that counts for nothing, as in torch."""

_VOID_OF_IMAGES = 255
"""What data sets of segmentation (VOC, Cityscapes) write for it."""


def without_targets(
    targets: Tensor, real: Tensor | None, ignore_index: int | None, *, classes: bool
) -> Tensor:
    """Targets (N, …) with what counts for nothing marked as a loss knows it: -100 for classes, NaN for numbers.

    real: which positions are not padding, (N, …) of bool; it matters where targets are per position. ignore_index:
    the target of what counts for nothing. classes: whether targets are classes.
    """
    void = None if ignore_index is None else targets == ignore_index
    if real is not None and real.dim() > 1 and targets.shape[: real.dim()] == real.shape:
        indices = classes and not targets.is_floating_point()
        if indices or targets.dim() > real.dim():
            real = real.to(targets.device).reshape(*real.shape, *[1] * (targets.dim() - real.dim()))
            void = ~real if void is None else void | ~real
    if void is None or not void.any():
        return targets
    if classes and not targets.is_floating_point():
        return targets.long().masked_fill(void, VOID)
    return (targets if targets.is_floating_point() else targets.float()).masked_fill(void, torch.nan)


def classes_of(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets as classes (N, …), or as probabilities of them in the shape of the outputs (N, C, …)."""
    shape = _logits(outputs).shape
    if targets.shape == shape:
        return targets.to(outputs.dtype)
    if len(targets) != shape[0] or targets.numel() != shape[:1].numel() * shape[2:].numel():
        wanted = f"classes, {(shape[0], *shape[2:])}, or their probabilities, {tuple(shape)}"
        raise InputError(expected("targets", wanted, f"the shape {tuple(targets.shape)}"))
    classes = targets.reshape(shape[0], *shape[2:]).long()
    if len(shape) > 2 and shape[1] <= _VOID_OF_IMAGES:
        classes = classes.masked_fill(void := classes == _VOID_OF_IMAGES, VOID)
        targets = (
            targets.long().masked_fill(void.reshape(targets.shape), VOID) if bool(void.any()) else targets
        )
    wrong = ((classes < 0) | (classes >= shape[1])) & (classes != VOID)
    wrong |= classes != targets.reshape(classes.shape)
    if bool(wrong.any()):
        got = f"{targets.reshape(classes.shape)[wrong][0].item():g}"
        way_out = "Number the classes from 0 on, by whole numbers; `ignore_index` is the label of what does not count."
        raise InputError(expected("targets", f"classes from 0 to {shape[1] - 1}", got, way_out))
    return classes


def nll(outputs: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy per example: logits (N, C, …), classes (N, …) → (N,)."""
    outputs = exact(outputs)
    return summed(F.cross_entropy(outputs, classes_of(outputs, targets), reduction="none"))


def sample_classes(outputs: Tensor, generator: Generator) -> Tensor:
    """Classes (N, …) drawn by logits (N, C, …)."""
    probabilities = _logits(outputs).detach().movedim(1, -1).softmax(dim=-1)  # (N, …, C)
    flat = probabilities.reshape(-1, probabilities.shape[-1]).cpu()
    drawn = torch.multinomial(flat, 1, generator=generator)
    return drawn.reshape(probabilities.shape[:-1]).to(outputs.device)


def kl(dense: Tensor, compressed: Tensor, temperature: float = 1.0) -> Tensor:
    """KL per example of the distributions that logits (N, C, …) stand for, at a temperature → (N,)."""
    p = (exact(_logits(dense)) / temperature).log_softmax(dim=1)
    q = (exact(compressed) / temperature).log_softmax(dim=1)
    return summed((p.exp() * (p - q)).sum(dim=1))


def _half_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    outputs = exact(outputs)
    return summed(_counted((outputs - like(outputs, targets)).square(), targets)) / 2


def _counted(errors: Tensor, targets: Tensor) -> Tensor:
    """Errors without those of targets that are NaN."""
    if targets.is_floating_point() and (void := targets.isnan()).any():
        return errors.masked_fill(void.reshape(errors.shape), 0.0)
    return errors


def _sample_gaussian(outputs: Tensor, generator: Generator) -> Tensor:
    noise = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)
    return outputs.detach() + noise.to(outputs.device)


def _half_squares_divergence(dense: Tensor, compressed: Tensor, temperature: float = 1.0) -> Tensor:
    compressed = exact(compressed)
    return summed((compressed - like(compressed, dense)).square()) / 2 / temperature**2


def _binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    outputs = exact(outputs)
    wanted = like(outputs, targets)
    errors = F.binary_cross_entropy_with_logits(outputs, wanted, reduction="none")
    return summed(_counted(errors, wanted))


def _sample_bernoulli(outputs: Tensor, generator: Generator) -> Tensor:
    probabilities = exact(outputs.detach()).sigmoid().cpu()
    return torch.bernoulli(probabilities, generator=generator).to(outputs.device, outputs.dtype)


def _binary_kl(dense: Tensor, compressed: Tensor, temperature: float = 1.0) -> Tensor:
    p, q = exact(dense) / temperature, exact(compressed) / temperature
    parts = ((sign * p).sigmoid() * (F.logsigmoid(sign * p) - F.logsigmoid(sign * q)) for sign in (1.0, -1.0))
    return summed(sum(parts, torch.zeros_like(p)))


CROSS_ENTROPY = Loss("cross_entropy", nll, sample_classes, kl, top1, axis=1)
"""Classification: outputs (N, C, …) are logits, targets (N, …) classes; the divergence is KL."""

BINARY_CROSS_ENTROPY = Loss(
    "binary_cross_entropy", _binary_cross_entropy, _sample_bernoulli, _binary_kl, binary_accuracy
)
"""Decisions, one or many at once: outputs (N, …) are logits, targets (N, …) 0 or 1; the divergence is KL."""

SQUARED_ERROR = Loss("squared_error", _half_squares, _sample_gaussian, _half_squares_divergence)
"""Regression: half the squared error, a Gaussian of unit variance; outputs and targets (N, …)."""
