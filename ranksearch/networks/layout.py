"""The order of a model's tensors in memory: channels last, where the model lets them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ranksearch.networks.running import eval_mode
from ranksearch.networks.surgery import copy_model


def fast_layout(model: nn.Module) -> nn.Module:
    """The model with its 2-d convolution weights in channels-last order, in place; what it computes stays.

    Thin convolutions, depthwise ones above all, run several times faster so on a CPU. Tensors of any other number of
    axes are left alone.
    """
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.dim() == 4:
            tensor.data = channels_last(tensor.data)
    return model


def channels_last(tensor: Tensor) -> Tensor:
    """A batch of images, or a kernel, with its channels last in memory; any other tensor as it is."""
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def takes_fast_layout(model: nn.Module, example: Tensor) -> bool:
    """Whether a model computes the same in channels-last order, with its weights alone in it and with its inputs as
    well; it is not touched. It sees the example (1, …) twice: of a single one any order passes for plain.

    A `view` that joins the axes of what a convolution gave refuses that order, and one of a 4-d parameter may give
    something else in it.
    """
    plain, inputs = copy_model(model).to(example.device), torch.cat([example, example])
    with eval_mode(plain):
        wanted = plain(inputs)
        try:
            found = [fast_layout(plain)(each) for each in (inputs, channels_last(inputs))]
        except Exception:  # whatever a model says against it
            return False
    scale = wanted.abs().max()
    return all(bool(((each - wanted).abs() <= 1e-2 * scale).all()) for each in found)
