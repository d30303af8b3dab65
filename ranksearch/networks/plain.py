"""What modules tell without being run: whether a model is one of plain modules, and what keeps a layer dense."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from ranksearch.errors import InputError, expected
from ranksearch.networks.kinds import KINDS, LAYER_TYPES, groups_of, kind_of, weight_of


def check_plain(model: nn.Module) -> None:
    """Raises InputError for what is no module, or not one of plain modules whose weights are there."""
    check_made_of_modules(model)
    for name, module in model.named_modules():
        if odd := [key for key, _ in module.named_children() if not key or "." in key]:
            wanted = "modules with names of one part, without dots"
            raise InputError(expected(name or "model", wanted, repr(odd[0]), "Register it by another name."))
        if any(is_lazy(p) for p in module._parameters.values()):
            way_out = "Run the model once on real input."
            raise InputError(expected(name or "model", "parameters with a shape", "lazy ones", way_out))
        tensors = (*module._parameters.values(), *module._buffers.values())
        if any(tensor is not None and tensor.is_meta for tensor in tensors):
            way_out = "Load its weights first: `model.to_empty(device=…)` and `load_state_dict`."
            raise InputError(
                expected(name or "model", "weights with values", "ones on the meta device", way_out)
            )
    _check_not_quantised(model)


def _check_not_quantised(model: nn.Module) -> None:
    """Raises InputError where quantised modules are all there is; beside others they stay as they are."""
    names = [
        name or "model"
        for name, module in model.named_modules()
        if {"quantized", "qat"} & {*type(module).__module__.split(".")}
    ]
    if names and not any(type(module) in LAYER_TYPES for module in model.modules()):
        way_out = "Compress the model before it is quantised, and quantise what is delivered."
        raise InputError(
            expected("model", "weights in floating point", f"quantised ones ({names[0]})", way_out)
        )


def check_made_of_modules(model: object) -> None:
    """Raises InputError for what is no module, or a program made of one; whether weights are there is not asked."""
    if not isinstance(model, nn.Module):
        raise InputError(expected("model", "an nn.Module", type(model).__name__))
    if isinstance(model, torch.jit.ScriptModule):
        way_out = "Hand in the module that it was made of, and script or trace what is delivered."
        raise InputError(expected("model", "a plain module", "one from torch.jit", way_out))
    for name, module in model.named_modules():
        if isinstance(module, torch.fx.GraphModule) and "eval" in vars(module):
            way_out = "Hand in the module that it was exported from, and export what is delivered."
            raise InputError(expected(name or "model", "a plain module", "one from torch.export", way_out))
        if type(module).__name__ == "OptimizedModule" and hasattr(module, "_orig_mod"):
            way_out = "Hand in its `_orig_mod`, and compile what is delivered."
            raise InputError(expected(name or "model", "a plain module", "one from torch.compile", way_out))


_Owner = tuple[nn.Module, str, Tensor]
"""A module, the name of one of its parameters or buffers in the model, and the tensor."""


def owners_of(model: nn.Module) -> Iterator[_Owner]:
    for name, module in model.named_modules():
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                yield module, f"{name}.{key}".lstrip("."), tensor


def static_reason(module: nn.Module, owners: Sequence[_Owner]) -> str | None:
    """Why a layer has to stay dense, as far as it tells itself."""
    weight = module._parameters.get("weight")
    others = [name for name in module._parameters if name.startswith("weight_")]
    if parametrize.is_parametrized(module) or (weight is None and others):
        return "its weight is computed from other parameters (a parametrisation such as weight_norm)"
    if weight is None:
        return "its weight is no parameter"
    if type(module) not in LAYER_TYPES:
        return f"{type(module).__name__} is a subclass, which may behave differently"
    if weight_of(module) is None or not weight.numel():
        return f"its weight has the shape {tuple(weight.shape)}"
    traits = KINDS[kind_of(module)]
    if "bias" not in module._parameters and not traits.lookup:
        return "its bias is no parameter"
    groups = groups_of(module)
    outputs = weight.shape[1] * groups if traits.inputs_first else weight.shape[0]
    bias = module._parameters.get("bias")
    if bias is not None and bias.shape != (outputs,):
        return f"its bias has the shape {tuple(bias.shape)}"
    if bias is not None and bias.dtype != weight.dtype:
        return f"its bias is {bias.dtype}, its weight {weight.dtype}"
    if _pads_otherwise(module, weight):
        return "it pads other than its padding says"
    if getattr(module, "max_norm", None) is not None:
        return "it shortens its vectors as it is called (max_norm)"
    if groups > 1:
        kind = "transposed convolution" if traits.transposed else "convolution"
        inputs = weight.shape[0] // groups if traits.inputs_first else weight.shape[1]
        if inputs == 1:
            return f"depthwise {kind}"
    if "forward" in vars(module):
        return "its forward is patched"
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
    )
    if any(hooks):
        return "it has hooks"
    extras = [*({*module._parameters} - {"weight", "bias"}), *module._buffers, *module._modules]
    if extras:
        return f"it carries {', '.join(sorted(extras))} beside weight and bias"
    if not weight.is_floating_point():
        return f"its weight is {weight.dtype}"
    for key in ("weight", "bias"):
        tensor = module._parameters.get(key)
        for other, name, theirs in owners if tensor is not None else ():
            if other is not module and _overlap(cast(Tensor, tensor), theirs):
                return f"its {key} is shared with {name}"
    return None


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are one, or views of the same memory."""
    if a is b:
        return True
    if a.device != b.device or a.device.type == "meta" or not a.numel() or not b.numel():
        return False
    return a.data_ptr() < _end(b) and b.data_ptr() < _end(a)


def _end(tensor: Tensor) -> int:
    span = 1 + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr() + span * tensor.element_size()


def _pads_otherwise(module: nn.Module, weight: Tensor) -> bool:
    """Whether a convolution's padding was changed after it was made: other modes than zeros go by what it was then."""
    if getattr(module, "padding_mode", "zeros") == "zeros":
        return False
    padding, dilation = cast(Any, module.padding), cast(Any, module.dilation)
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(0, 0) if padding == "valid" else (p, p) for p in padding]
    flat = [amount for side in reversed(sides) for amount in side]
    return flat != list(cast(Any, module._reversed_padding_repeated_twice))
