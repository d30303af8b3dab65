"""Running a model: the one door through which every forward pass goes, and the state that it runs in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ranksearch.errors import InputError, expected, told
from ranksearch.networks.batches import Batch, arguments, device_of, head, shapes_of, split, to
from ranksearch.networks.undisturbed import seeded, undisturbed

Output = Callable[[Any], Tensor]
"""Makes one tensor (N, …) of what a model returns."""


def one_tensor(returned: Any) -> Tensor:
    """What a model returns, where that is a tensor. Raises InputError where it is not.

    returns: An (N, …) tensor.
    """
    if not isinstance(returned, Tensor):
        way_out = "Say which tensor counts: Task(…, output=lambda returned: returned.logits)."
        raise InputError(expected("model", "a Tensor as output", type(returned).__name__, way_out))
    return returned


def call(model: nn.Module, batch: Batch) -> Any:
    """A forward pass, the only way in which a model is run: whatever the model returns for a batch.

    In evaluation mode nothing of it stays behind, in the model or in the global generators.
    """
    with undisturbed(model, device_of(batch)):
        args, kwargs = arguments(batch)
        return model(*args, **kwargs)


def forward(model: nn.Module, batch: Batch, output: Output = one_tensor) -> Tensor:
    """A forward pass of N examples whose result is made one tensor.

    returns: An (N, …) tensor.
    """
    return made_one(call(model, batch), output)


def made_one(returned: Any, output: Output) -> Tensor:
    """What a model returns made one tensor. Raises InputError where `output` does not do that.

    returns: An (N, …) tensor.
    """
    if output is one_tensor:
        return one_tensor(returned)
    try:
        found = output(returned)
    except Exception as error:
        got = f"{told(error)}, where the model returned {type(returned).__name__}"
        raise InputError(expected("output", _MAKES_ONE, got)) from error
    if not isinstance(found, Tensor):
        raise InputError(expected("output", _MAKES_ONE, type(found).__name__))
    return found


_MAKES_ONE = "a function that makes one Tensor of what the model returns"


def first_example(model: nn.Module, example: Batch) -> Batch:
    """The first example of a batch as a batch of size 1, on the model's device."""
    parameter = next(model.parameters(), None)
    one = head(example, 1)
    return one if parameter is None else to(one, parameter.device)


def call_once(model: nn.Module, example: Batch) -> Any:
    """What a model returns for a batch, without gradients, from the same random numbers each time.

    The model has to be in evaluation mode. Whatever goes wrong in it is an InputError.
    """
    try:
        with torch.no_grad(), seeded(0, device_of(example)):
            return call(model, example)
    except Exception as error:
        raise InputError(
            expected(
                "model",
                f"one that runs on an input of shape {shapes_of(example)}",
                told(error),
                "Is that the input size the model was made for?",
            )
        ) from error


def run_once(model: nn.Module, example: Batch, output: Output = one_tensor) -> Tensor:
    """What `call_once` returns, made one tensor.

    returns: An (N, …) tensor.
    """
    return made_one(call_once(model, example), output)


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


def run(
    model: nn.Module, inputs: Batch, *, batch_size: int, device: torch.device, output: Output = one_tensor
) -> Tensor:
    """Outputs of a model in evaluation mode, for N examples.

    returns: An (N, …) tensor on `device`.
    """
    with eval_mode(model):
        return torch.cat([forward(model, to(batch, device), output) for batch in split(inputs, batch_size)])
