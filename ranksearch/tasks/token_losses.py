"""Losses of sequences, whose outputs have the classes last: (N, T, C), as libraries of transformers return them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from ranksearch.errors import InputError, expected
from ranksearch.networks import tensors
from ranksearch.tasks.losses import VOID, Loss, classes_of, kl, nll, sample_classes
from ranksearch.tasks.metrics import PERPLEXITY, TOKEN_ACCURACY


def classes_second(outputs: Tensor) -> Tensor:
    """(N, …, C) → (N, C, …). Raises InputError where there is one prediction per example alone."""
    if outputs.dim() < 3:
        wanted = "logits for each position, with the classes last, (N, T, C)"
        way_out = "For one prediction per example use the loss cross_entropy."
        raise InputError(expected("model", wanted, f"outputs {tuple(outputs.shape)}", way_out))
    return outputs.movedim(-1, 1)


def _value(outputs: Tensor, targets: Tensor) -> Tensor:
    return nll(classes_second(outputs), targets)


def _sample(outputs: Tensor, generator: Generator) -> Tensor:
    return sample_classes(classes_second(outputs), generator)


def _divergence(dense: Tensor, compressed: Tensor, temperature: float = 1.0) -> Tensor:
    return kl(classes_second(dense), classes_second(compressed), temperature)


def _next_value(outputs: Tensor, targets: Tensor) -> Tensor:
    """Each position predicts the next target."""
    checked = classes_of(classes_second(outputs), targets)
    return nll(classes_second(outputs)[..., :-1], checked[:, 1:])


def _sample_next(outputs: Tensor, generator: Generator) -> Tensor:
    drawn = _sample(outputs, generator)
    return torch.cat([torch.full_like(drawn[:, :1], VOID), drawn[:, :-1]], dim=1)


def own_tokens(inputs: Any) -> Tensor | None:
    """The token numbers among a model's inputs: what they hold as `input_ids`, or their first tensor of whole numbers;
    None where they have none."""
    if isinstance(inputs, Mapping) and isinstance(found := inputs.get("input_ids"), Tensor):
        return found
    whole = [
        x for x in tensors(inputs) if x.dim() == 2 and not x.is_floating_point() and x.dtype != torch.bool
    ]
    return whole[0] if whole else None


TOKEN_CROSS_ENTROPY = Loss("token_cross_entropy", _value, _sample, _divergence, TOKEN_ACCURACY, axis=-1)
"""A class for each token: outputs (N, T, C) are logits, targets (N, T) classes; the divergence is KL."""

CAUSAL_LM = Loss(
    "causal_lm", _next_value, _sample_next, _divergence, PERPLEXITY, axis=-1, own_targets=own_tokens
)
"""The next token: outputs (N, T, C) are logits, targets (N, T) the tokens themselves, of which position t predicts
number t + 1; without targets they are the inputs' own. The divergence is KL, at all positions."""
