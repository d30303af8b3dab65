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


@dataclass(frozen=True)
class Loss:
    """A negative log-likelihood and what follows from it.

    value(outputs, targets): loss per example, (N, …), (N, …) → (N,).
    sample(outputs, generator): targets drawn from the model's own predictive distribution, (N, …) → (N, …).
    divergence(dense, compressed, temperature): of two outputs per example, (N, …), (N, …) → (N,); in units of
    the loss and without the factor T² at temperature T.
    """

    name: str
    value: Callable[[Tensor, Tensor], Tensor]
    sample: Callable[[Tensor, Generator], Tensor]
    divergence: Callable[[Tensor, Tensor, float], Tensor]


def _per_example(values: Tensor) -> Tensor:
    return values.flatten(1).sum(dim=1) if values.dim() > 1 else values


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return _per_example(F.cross_entropy(outputs, targets, reduction="none"))


def _sample_classes(outputs: Tensor, generator: Generator) -> Tensor:
    probabilities = outputs.detach().movedim(1, -1).softmax(dim=-1)  # (N, …, C)
    flat = probabilities.reshape(-1, probabilities.shape[-1]).cpu()
    drawn = torch.multinomial(flat, 1, generator=generator)
    return drawn.reshape(probabilities.shape[:-1]).to(outputs.device)


def _kl(dense: Tensor, compressed: Tensor, temperature: float = 1.0) -> Tensor:
    p = (dense / temperature).log_softmax(dim=1)
    q = (compressed / temperature).log_softmax(dim=1)
    return _per_example((p.exp() * (p - q)).sum(dim=1))


def _half_squares(outputs: Tensor, targets: Tensor) -> Tensor:
    return _per_example((outputs - targets).square()) / 2


def _sample_gaussian(outputs: Tensor, generator: Generator) -> Tensor:
    noise = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)
    return outputs.detach() + noise.to(outputs.device)


def _half_squares_divergence(dense: Tensor, compressed: Tensor, temperature: float = 1.0) -> Tensor:
    return _half_squares(compressed, dense) / temperature**2


CROSS_ENTROPY = Loss("cross_entropy", _cross_entropy, _sample_classes, _kl)
"""Classification: outputs (N, C, …) are logits, targets (N, …) classes; the divergence is KL."""

SQUARED_ERROR = Loss("squared_error", _half_squares, _sample_gaussian, _half_squares_divergence)
"""Regression: half the squared error, a Gaussian of unit variance; outputs and targets (N, …)."""

LOSSES: dict[str, Loss] = {loss.name: loss for loss in (CROSS_ENTROPY, SQUARED_ERROR)}


def get_loss(name: str) -> Loss:
    """The built-in loss of that name."""
    if name not in LOSSES:
        raise InputError(
            expected("loss", " or ".join(LOSSES), repr(name), "Or name one of your own as module:LOSS.")
        )
    return LOSSES[name]
