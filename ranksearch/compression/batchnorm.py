"""BatchNorm statistics of a compressed model: re-estimated by a forward pass, or kept if that is no better.

Compression changes the distribution of a BatchNorm layer's inputs. Re-estimation corrects for this, but if the change
is small the statistics of the full training run are better than those of a few hundred images. Held-out divergence
decides.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ranksearch.networks import Batch, Output, call, one_tensor, run, size, split, to
from ranksearch.tasks import Estimate, Loss, divergence

BLENDS = (0.0, 0.5, 1.0)
"""Competing weights of the re-estimated statistics: none, half, all."""


@dataclass(frozen=True)
class Recalibrated:
    """A model with its chosen statistics, their blend, and the held-out divergence by which it was chosen."""

    model: nn.Module
    blend: float
    divergence: Estimate


def _norms(model: nn.Module) -> list[_BatchNorm]:
    """BatchNorm layers that keep running statistics."""
    return [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]


def estimate_statistics(model: nn.Module, inputs: Batch, *, batch_size: int, device: torch.device) -> None:
    """Replace running statistics by the mean over batches of `inputs`, in place; momentum is unchanged.

    Only the BatchNorm layers are put into training mode, so that dropout stays off.
    """
    norms = _norms(model)
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        with torch.no_grad():
            for batch in split(inputs, batch_size):
                if size(batch) > 1:
                    call(model, to(batch, device))
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        model.eval()


def recalibrate(
    model: nn.Module,
    inputs: Batch,
    held_out: Batch,
    dense_outputs: Tensor,
    loss: Loss,
    *,
    batch_size: int,
    device: torch.device,
    blends: Sequence[float] = BLENDS,
    output: Output = one_tensor,
) -> Recalibrated:
    """The blend of old and re-estimated statistics with the least divergence on held-out images.

    The statistics come from `inputs`; the blend is chosen on the M examples of `held_out`, with the dense model's
    outputs (M, …) on them. The model is changed in place and returned in evaluation mode.
    """
    norms = _norms(model)

    def score() -> Estimate:
        outputs = run(model, held_out, batch_size=batch_size, device=device, output=output)
        return divergence(dense_outputs, outputs, loss)

    if not norms or not any(blends):
        model.eval()
        return Recalibrated(model, 0.0, score())
    old = [copy.deepcopy(norm.state_dict()) for norm in norms]
    estimate_statistics(model, inputs, batch_size=batch_size, device=device)
    new = [copy.deepcopy(norm.state_dict()) for norm in norms]

    def load(blend: float) -> None:
        for norm, before, after in zip(norms, old, new, strict=True):
            norm.load_state_dict(
                {
                    k: torch.lerp(before[k], after[k], blend) if before[k].is_floating_point() else before[k]
                    for k in before
                }
            )

    scores: dict[float, Estimate] = {}
    for blend in blends:
        load(blend)
        scores[blend] = score()
    best = min(scores, key=lambda blend: scores[blend].mean)
    load(best)
    return Recalibrated(model, best, scores[best])
