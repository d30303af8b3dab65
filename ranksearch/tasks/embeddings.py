"""A loss of embeddings: their directions, compared by the cosine.

With unit vectors u and v, 1 - cos(u, v) = |u - v|²/2, so the divergence is that of Gaussians of unit variance around
them. The targets that the moments need are drawn from the Gaussian around u.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ranksearch.tasks.losses import Loss, exact, like, summed
from ranksearch.tasks.metrics import COSINE


def _unit(outputs: Tensor) -> Tensor:
    return F.normalize(exact(outputs), dim=-1)


def _value(outputs: Tensor, targets: Tensor) -> Tensor:
    """One minus the product of unit vectors. Of targets off the sphere only what lies along it has a gradient."""
    unit = _unit(outputs)
    return summed(1 - (unit * like(unit, targets)).sum(dim=-1))


def _sample(outputs: Tensor, generator: Generator) -> Tensor:
    noise = torch.randn(outputs.shape, generator=generator, dtype=outputs.dtype)
    return F.normalize(outputs.detach(), dim=-1) + noise.to(outputs.device)


def _divergence(dense: Tensor, compressed: Tensor, temperature: float = 1.0) -> Tensor:
    return summed((_unit(dense) - _unit(compressed)).square().sum(dim=-1)) / 2 / temperature**2


EMBEDDING = Loss("cosine", _value, _sample, _divergence, COSINE, softens=False)
"""Embeddings, of which the direction counts: outputs (N, …, D), targets unit vectors of that shape; the divergence is
one minus the cosine."""
