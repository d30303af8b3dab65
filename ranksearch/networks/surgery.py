"""Copies of a model, and modules swapped in them: the original model is never changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from ranksearch.errors import InputError, expected, told


def copy_model(model: nn.Module) -> nn.Module:
    """A deep copy; also of models that keep tensors inside the autograd graph, and of scripted parts.

    The older weight_norm and spectral_norm keep their weight as such a tensor, which `copy.deepcopy` refuses, and so do
    models that remember what they computed; the copy gets the tensor's value. Scripted parts would get parameters that
    are copies within the graph, which can be neither frozen nor trained.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        for value in _tensors_in((*vars(module).values(), *module._buffers.values())):
            if not value.is_leaf:
                memo[id(value)] = value.detach().clone()
    try:
        with torch.no_grad():
            copied = copy.deepcopy(model, memo)
    except Exception as error:
        way_out = "Take off what cannot be copied (locks, files, generators), or define `__deepcopy__`."
        raise InputError(
            expected("model", "one that copy.deepcopy can copy", told(error), way_out)
        ) from error
    for own, parameter in zip(model.parameters(), copied.parameters(), strict=False):
        if own.requires_grad and not parameter.requires_grad:
            parameter.requires_grad_()
    return copied


def _tensors_in(values: object) -> Iterator[Tensor]:
    """Those in a tree of containers; what a model holds of modules is not looked into."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, Mapping):
        for value in values.values():
            yield from _tensors_in(value)
    elif isinstance(values, list | tuple | set):
        for value in values:
            yield from _tensors_in(value)


def replace_modules(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Swap modules wherever they are registered, in place; returns the model, or its own replacement."""
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if child is not None and child in replacements:
                parent._modules[key] = replacements[child]
    return replacements.get(model, model)
