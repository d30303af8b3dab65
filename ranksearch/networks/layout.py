"""The order of a model's tensors in memory: channels last, where the model lets them."""

from __future__ import annotations

import torch
from torch import nn

from ranksearch.networks.batches import Batch, cat, device_of, each
from ranksearch.networks.outputs import Output, one_tensor
from ranksearch.networks.running import eval_mode, forward
from ranksearch.networks.surgery import copy_model


def fast_layout(model: nn.Module) -> nn.Module:
    """The model with its 2-d convolution weights in channels-last order, in place; its results stay the same.

    Thin convolutions, especially depthwise ones, run several times faster that way on a CPU. Tensors with another
    number of axes are left alone.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dim() == 4:
            tensor.data = channels_last(tensor.data)
    return model


def channels_last(batch: Batch) -> Batch:
    """Images, or a kernel, with their channels last in memory; any other tensor of a batch unchanged."""
    return each(lambda t: t.contiguous(memory_format=torch.channels_last) if t.dim() == 4 else t, batch)


def takes_fast_layout(model: nn.Module, example: Batch, output: Output = one_tensor) -> bool:
    """Whether a model computes the same with its weights, and also its inputs, in channels-last order.

    The model is not changed. The example (1, …) is repeated, since a single one may count as contiguous in either
    order. In channels-last order a `view` that joins axes of a convolution's output raises an error, and a `view` of a
    4-d parameter may give other values.
    """
    plain, inputs = copy_model(model).to(device_of(example)), cat([example, example])
    with eval_mode(plain):
        try:
            wanted = forward(plain, inputs, output)
            found = [forward(fast_layout(plain), batch, output) for batch in (inputs, channels_last(inputs))]
        except Exception:  # models can fail in any way here
            return False
    scale = wanted.abs().max()
    return all(bool(((one - wanted).abs() <= 1e-2 * scale).all()) for one in found)
