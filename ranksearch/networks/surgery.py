"""Copies of a model, and modules swapped in them: the original model is never changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import Tensor, nn

from ranksearch.errors import InputError, expected, told


def copy_model(model: nn.Module) -> nn.Module:
    """A deep copy; also of models with the older weight_norm and spectral_norm.

    Those keep their weight as a tensor inside the autograd graph, which `copy.deepcopy` refuses. The copy
    gets the tensor's value, which its own hook overwrites in the next forward pass.
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


def replace_modules(model: nn.Module, replacements: Mapping[nn.Module, nn.Module]) -> nn.Module:
    """Swap modules wherever they are registered, in place; returns the model, or its own replacement."""
    for parent in list(model.modules()):
        for key, child in parent._modules.items():
            if child is not None and child in replacements:
                parent._modules[key] = replacements[child]
    return replacements.get(model, model)
