"""A few outputs of a delivered model for seeded inputs, by which it is known again on another machine."""

from __future__ import annotations

from math import ceil, inf

import numpy as np
import torch
from torch import Tensor, nn

from ranksearch.errors import InputError
from ranksearch.networks import Batch, call_once, copy_model, eval_mode
from ranksearch.planning import OutputsRecord

INPUTS = 3
MOST = 16
"""Outputs that are kept for an input, at most."""

SEED = 0

OUTPUTS_TOLERANCE = 1e-3
"""The largest difference that machines and versions may make, relative to the largest output."""


def outputs_record(model: nn.Module, example: Batch) -> OutputsRecord | None:
    """Outputs of a model on the CPU; None where it takes anything but one tensor of single precision, returns anything
    but a tensor, or an output is not finite."""
    if not isinstance(example, Tensor) or example.dtype != torch.float32:
        return None
    found = _outputs(model, (1, *example.shape[1:]), SEED, INPUTS)
    if found is None or not bool(found.isfinite().all()):
        return None
    every = ceil(found.shape[1] / MOST)
    values = tuple(tuple(row) for row in found[:, ::every].tolist())
    return OutputsRecord(seed=SEED, inputs=INPUTS, every=every, values=values)


def outputs_apart(model: nn.Module, record: OutputsRecord, input_shape: tuple[int, ...]) -> float:
    """The largest difference of a model's outputs from recorded ones, relative to the largest of those."""
    found = _outputs(model, input_shape, record.seed, record.inputs)
    wanted = torch.tensor(record.values, dtype=torch.float64)
    if found is None or found[:, :: record.every].shape != wanted.shape:
        return inf
    apart = float((found[:, :: record.every] - wanted).abs().max())
    largest = float(wanted.abs().max())
    if not apart < inf:
        return inf
    return apart / largest if largest else (inf if apart else 0.0)


def _outputs(model: nn.Module, shape: tuple[int, ...], seed: int, count: int) -> Tensor | None:
    # RandomState is frozen: it gives the same numbers everywhere, which torch's generators do not promise.
    drawn = np.random.RandomState(seed).standard_normal((count, *shape[1:])).astype(np.float32)
    plain = copy_model(model).to("cpu").to(memory_format=torch.contiguous_format)
    try:
        with eval_mode(plain):
            returned = call_once(plain, torch.from_numpy(drawn))
    except InputError:  # it takes batches of one, or other numbers: then there is nothing to know it by
        return None
    if not isinstance(returned, Tensor) or not returned.is_floating_point() or len(returned) != count:
        return None
    return returned.double().flatten(1)
