"""Copying a model, swapping its modules, running it once: the model handed in is never changed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ranksearch.errors import InputError, expected, told


def first_example(model: nn.Module, example: Tensor) -> Tensor:
    """The first example of a batch (N, …) as a batch of size 1, on the model's device."""
    parameter = next(model.parameters(), None)
    one = example[:1] if example.dim() else example
    return one if parameter is None else one.to(parameter.device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators, from which layers such as dropout draw, seeded for a while; then they are as before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def run_once(model: nn.Module, example: Tensor) -> Tensor:
    """Output of one example, without gradients, from the same random numbers each time.

    The model has to be in evaluation mode. Whatever goes wrong in it is an InputError.
    """
    shape = tuple(example.shape)
    try:
        with torch.no_grad(), seeded(0, example.device):
            output = model(example)
    except Exception as error:
        raise InputError(
            expected(
                "model",
                f"one that runs on an input of shape {shape}",
                told(error),
                "Is that the input size the model was made for?",
            )
        ) from error
    if not isinstance(output, Tensor):
        raise InputError(
            expected(
                "model",
                f"a Tensor as output for an input of shape {shape}",
                type(output).__name__,
                "Wrap the model in a module whose forward picks the tensor out.",
            )
        )
    return output


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode comes back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def attention_fast_path(enabled: bool) -> Iterator[None]:
    """Allow or forbid the fused kernels of nn.MultiheadAttention and nn.TransformerEncoderLayer.

    They take the weights instead of calling the layers, and no counter knows their FLOPs.
    """
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def run(model: nn.Module, inputs: Tensor, *, batch_size: int, device: torch.device) -> Tensor:
    """Outputs of a model in evaluation mode: inputs (N, …) → outputs (N, …) on `device`."""
    with eval_mode(model):
        return torch.cat([model(batch.to(device)) for batch in inputs.split(batch_size)])
