"""Running a model: the one door through which every forward pass goes, and the state that it runs in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from torch import Tensor, nn

from ranksearch.errors import InputError, RankSearchError, expected, is_of_the_system, told
from ranksearch.networks.batches import Batch, arguments, device_of, head, shapes_of, size, split, to
from ranksearch.networks.masks import Reading
from ranksearch.networks.outputs import Output, one_tensor
from ranksearch.networks.undisturbed import seeded, undisturbed


def _blaming_the_model(run: Callable[[nn.Module, Batch], Any]) -> Callable[[nn.Module, Batch], Any]:
    """Whatever the model's own code raises becomes an InputError about it."""

    @wraps(run)
    def wrapped(model: nn.Module, batch: Batch) -> Any:
        try:
            return run(model, batch)
        except Exception as error:
            if isinstance(error, RankSearchError) or is_of_the_system(error):
                raise
            raise _does_not_run(batch, error) from error

    return wrapped


def _does_not_run(batch: Batch, error: Exception) -> InputError:
    wanted = f"one that runs on an input of shape {shapes_of(batch)}"
    way_out = "Is that the input size the model was made for?"
    return InputError(expected("model", wanted, told(error), remedy(error) or way_out))


def remedy(error: BaseException) -> str:
    """What to do about an error of a model that torch is brief about; nothing where that is not known."""
    text = str(error)
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "Use a smaller `batch_size`."
    if "inplace" in text or "in-place" in text:
        return (
            "An operation in place (x += y, relu_, inplace=True) overwrites what the gradient needs: write x = x + y, "
            "inplace=False."
        )
    if "same dtype" in text or "same type" in text or "should be the same" in text:
        return (
            "Inputs and weights have to be of one dtype: convert the data, or the model by `model.float()`."
        )
    if "more than 1 value per channel" in text:
        return (
            "A BatchNorm layer uses the statistics of a batch that has one example: it has to be in evaluation mode, "
            "with statistics of its own, or `batch_size` to be larger."
        )
    return ""


def backward(value: Tensor) -> None:
    """Gradients of a number that a model's outputs went into. Whatever goes wrong in it is an InputError.

    value: A () tensor.
    """
    try:
        value.backward()
    except Exception as error:
        if isinstance(error, RankSearchError) or is_of_the_system(error):
            raise
        wanted = "one that can be differentiated"
        way_out = remedy(error) or "Does it detach what it computes, or use operations without a gradient?"
        raise InputError(expected("model", wanted, told(error), way_out)) from error


@_blaming_the_model
def call(model: nn.Module, batch: Batch) -> Any:
    """A forward pass, the only way in which a model is run: whatever the model returns for a batch.

    In evaluation mode nothing of it stays behind, in the model or in the global generators. Whatever goes wrong in it
    is an InputError.
    """
    with undisturbed(model, device_of(batch)):
        args, kwargs = arguments(batch)
        return model(*args, **kwargs)


def forward(model: nn.Module, batch: Batch, output: Output = one_tensor) -> Tensor:
    """A forward pass of N examples whose result is made one tensor.

    returns: An (N, …) tensor.
    """
    return outputs_of(call(model, batch), batch, output)


def outputs_of(returned: Any, batch: Batch, output: Output = one_tensor) -> Tensor:
    """What a model returned for N examples made one tensor, without what a mask says is padding, and pooled where the
    output says so.

    returns: An (N, …) tensor.
    """
    outputs = per_example(made_one(returned, output), batch)
    return output.counted(outputs, batch) if isinstance(output, Reading) else outputs


def per_example(outputs: Tensor, batch: Batch) -> Tensor:
    """Outputs as they are. Raises InputError where they are not (N, …) for a batch of N examples.

    outputs: An (N, …) tensor.
    returns: An (N, …) tensor.
    """
    count = size(batch)
    if outputs.dim() == 0 or len(outputs) != count or not outputs.numel():
        wanted = f"outputs for each of {count} example{'s' * (count != 1)}, ({count}, …)"
        way_out = "The first axis counts the examples: move it there, or say so by Task(…, output=…)."
        raise InputError(expected("model", wanted, f"the shape {tuple(outputs.shape)}", way_out))
    return outputs


def made_one(returned: Any, output: Output) -> Tensor:
    """What a model returns made one tensor. Raises InputError where `output` does not do that, and where it is one of
    which no gradient is to be had.

    returns: An (N, …) tensor.
    """
    try:
        found = output(returned)
    except RankSearchError:
        raise
    except Exception as error:
        got = f"{told(error)}, where the model returned {type(returned).__name__}"
        raise InputError(expected("output", _MAKES_ONE, got)) from error
    if not isinstance(found, Tensor):
        raise InputError(expected("output", _MAKES_ONE, type(found).__name__))
    if found.layout is torch.strided and found.is_floating_point():
        return found
    kind = found.dtype if found.layout is torch.strided else found.layout
    way_out = "Return what the loss is computed from, such as logits, or say so: Task(…, output=…)."
    raise InputError(expected("model", "a dense output of real floating-point numbers", kind, way_out))


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
    except RankSearchError:
        raise
    except Exception as error:
        raise _does_not_run(example, error) from error


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
