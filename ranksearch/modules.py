"""Copying a model, swapping its modules, running it once: the model handed in is never changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from ranksearch.errors import InputError, expected, told

_NARROW = 1024


def copy_model(model: nn.Module) -> nn.Module:
    """A deep copy; also of models with the older weight_norm and spectral_norm.

    Those keep their weight as a tensor inside the autograd graph, which `copy.deepcopy` refuses; the copy
    gets its value, which its own hook overwrites in the next forward pass.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        for value in (*vars(module).values(), *module._buffers.values()):
            if isinstance(value, Tensor) and not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:
        raise InputError(expected("model", "one that copy.deepcopy can copy", told(error))) from error


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Torch's CPU threads set for a while; None leaves them."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def algebra_threads(width: int) -> AbstractContextManager[None]:
    """One thread for the algebra of narrow layers, `width` = I·kh·kw: more threads wait for each other there, and
    on a busy machine they wait long."""
    return threads(1 if width <= _NARROW else None)


def replace_modules(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Swap modules wherever they are registered, in place; the result is the model, or what replaces it."""
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if child is not None and child in replacements:
                parent._modules[key] = replacements[child]
    return replacements.get(model, model)


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
