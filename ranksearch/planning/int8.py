"""Candidates with int8 weights beside the float ones, so that ranks and bit widths are traded in one allocation."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ranksearch.calibration import Columns, kernel_error
from ranksearch.costs import INT8_BYTES, Cost, as_int8
from ranksearch.networks import Layer
from ranksearch.planning.builder import chain_of
from ranksearch.planning.plan import Candidate, Table
from ranksearch.planning.tables import pareto

CREST = 10.0
"""The range of a layer's inputs, which are rounded to 256 steps, over their root mean square."""

_KINDS = ("linear", "conv1d", "conv2d", "conv3d")


def with_int8(table: Table, rounding: float) -> Table:
    """The table with an int8 candidate beside each float one that can be int8, as far as they are worth it.

    rounding: ε of the dense layer in int8. Each factor of a chain rounds its inputs anew, so that of a chain is taken
    to be a multiple of it. Chains with a depthwise factor stay float: their terms cancel each other, and what is left
    of them after rounding is mostly noise.
    """
    layer = table.layer
    if layer.kind not in _KINDS:
        return table
    twins = [
        _rounded(layer, candidate, rounding) for candidate in table.candidates if _can_be(layer, candidate)
    ]
    return replace(table, candidates=pareto([*table.candidates, *twins]))


def _can_be(layer: Layer, candidate: Candidate) -> bool:
    return candidate.is_dense or not any(factor.depthwise for factor in chain_of(layer, candidate))


def _rounded(layer: Layer, candidate: Candidate, rounding: float) -> Candidate:
    chain = () if candidate.is_dense else chain_of(layer, candidate)
    cost = Cost(**candidate.cost.amounts | {INT8_BYTES: as_int8(layer, chain)})
    return replace(candidate, cost=cost, error=candidate.error + max(1, len(chain)) * rounding, int8=True)


def rounding_error(
    kernel: Tensor, A: Tensor | Columns | None = None, G: Tensor | Columns | None = None
) -> float:
    """ε of a dense layer in int8: weights rounded with a scale per output channel, inputs with one scale for all.

    kernel: An (O, I, *kernel_size) tensor. A, G: as for `kernel_error`. What rounding adds to the inputs is taken to be
    white, a twelfth of a step squared (Bennett 1948), of steps that span `CREST` times the inputs' root mean square.
    """
    flat = kernel.flatten(1).float()
    step = flat.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127
    of_weights = kernel_error(flat, (flat / step).round() * step, A, G)
    noise = (CREST / 255) ** 2 / 12 * _mean_square(A)
    white = None
    if isinstance(A, Tensor) and A.dim() == 3:  # the groups of a convolution
        white = torch.eye(A.shape[-1], dtype=A.dtype, device=A.device).expand_as(A)
    return of_weights + noise * kernel_error(flat, torch.zeros_like(flat), white, G)


def _mean_square(A: Tensor | Columns | None) -> float:
    if A is None:
        return 1.0
    if isinstance(A, Columns):
        return float(A.X.square().sum(dim=1).mean())
    return float((A if A.dim() == 1 else A.diagonal(dim1=-2, dim2=-1)).mean())
