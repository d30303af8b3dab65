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
    """

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    sample: Callable[[Tensor, Generator], Tensor]
    divergence: Callable[[Tensor, Tensor, float], Tensor]
    metric: MetricFn | None = None

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
    """Top-1 accuracy in per cent, per example: outputs (N, C), targets (N,) → (N,).

    Of targets (N, C), the probabilities of the classes, the largest counts.
    """
    wanted = _classes(outputs, targets)
    wanted = wanted.argmax(dim=1) if wanted.is_floating_point() else wanted
    return (_logits(outputs).argmax(dim=1) == wanted).float() * 100


def binary_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Part of the right decisions in per cent, per example: logits (N, …), targets of 0 and 1 → (N,)."""
    right = (outputs > 0) == (_like(outputs, targets) > 0.5)
    return right.float().flatten(1).mean(dim=1) * 100 if right.dim() > 1 else right.float() * 100


def _per_example(values: Tensor) -> Tensor:
    return values.flatten(1).sum(dim=1) if values.dim() > 1 else values


def _exact(tensor: Tensor) -> Tensor:
    """Half precision as single: divergences are differences of what is nearly alike."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _like(outputs: Tensor, targets: Tensor) -> Tensor:
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


_IGNORED = -100
"""The class that cross-entropy leaves out, as in torch."""


def _classes(outputs: Tensor, targets: Tensor) -> Tensor:
    """Targets as classes (N, …), or as probabilities of them in the shape of the outputs."""
    shape = _logits(outputs).shape
    if targets.shape == shape:
        return targets.to(outputs.dtype)
    if len(targets) != shape[0] or targets.numel() != shape[:1].numel() * shape[2:].numel():
        wanted = f"classes, {(shape[0], *shape[2:])}, or their probabilities, {tuple(shape)}"
        raise InputError(expected("targets", wanted, f"the shape {tuple(targets.shape)}"))
    classes = targets.reshape(shape[0], *shape[2:]).long()
    wrong = ((classes < 0) | (classes >= shape[1])) & (classes != _IGNORED)
    wrong |= classes != targets.reshape(classes.shape)
    if bool(wrong.any()):
        got = f"{targets.reshape(classes.shape)[wrong][0].item():g}"
        way_out = "Number the classes from 0 on, by whole numbers."
        raise InputError(expected("targets", f"classes from 0 to {shape[1] - 1}", got, way_out))
    return classes


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    outputs = _exact(outputs)
    return _per_example(F.cross_entropy(outputs, _classes(outputs, targets), reduction="none"))


def _sample_classes(outputs: Tensor, generator: Generator) -> Tensor:
    probabilities = _logits(outputs).detach().movedim(1, -1).softmax(dim=-1)  # (N, …, C)
    flat = probabilities.reshape(-1, probabilities.shape[-1]).cpu()
    drawn = torch.multinomial(flat, 1, generator=generator)
    return drawn.reshape(probabilities.shape[:-1]).to(outputs.device)


def _kl(dense: Tensor, compressed: Tensor, temperature: float = 1.0) -> Tensor:
    p = (_exact(_logits(dense)) / temperature).log_softmax(dim=1)
    q = (_exact(compressed) / temperature).log_softmax(dim=1)
    return _per_example((p.exp() * (p - q)).sum(dim=1))


def _half_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    outputs = _exact(outputs)
    return _per_example((outputs - _like(outputs, targets)).square()) / 2


def _sample_gaussian(outputs: Tensor, generator: Generator) -> Tensor:
    noise = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)
    return outputs.detach() + noise.to(outputs.device)


def _half_squares_divergence(dense: Tensor, compressed: Tensor, temperature: float = 1.0) -> Tensor:
    return _half_squares(compressed, dense) / temperature**2


def _binary_cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    outputs = _exact(outputs)
    return _per_example(
        F.binary_cross_entropy_with_logits(outputs, _like(outputs, targets), reduction="none")
    )


def _sample_bernoulli(outputs: Tensor, generator: Generator) -> Tensor:
    probabilities = _exact(outputs.detach()).sigmoid().cpu()
    return torch.bernoulli(probabilities, generator=generator).to(outputs.device, outputs.dtype)


def _binary_kl(dense: Tensor, compressed: Tensor, temperature: float = 1.0) -> Tensor:
    p, q = _exact(dense) / temperature, _exact(compressed) / temperature
    parts = ((sign * p).sigmoid() * (F.logsigmoid(sign * p) - F.logsigmoid(sign * q)) for sign in (1.0, -1.0))
    return _per_example(sum(parts, torch.zeros_like(p)))


CROSS_ENTROPY = Loss("cross_entropy", _cross_entropy, _sample_classes, _kl, top1)
"""Classification: outputs (N, C, …) are logits, targets (N, …) classes; the divergence is KL."""

BINARY_CROSS_ENTROPY = Loss(
    "binary_cross_entropy", _binary_cross_entropy, _sample_bernoulli, _binary_kl, binary_accuracy
)
"""Decisions, one or many at once: outputs (N, …) are logits, targets (N, …) 0 or 1; the divergence is KL."""

SQUARED_ERROR = Loss("squared_error", _half_squares, _sample_gaussian, _half_squares_divergence)
"""Regression: half the squared error, a Gaussian of unit variance; outputs and targets (N, …)."""
