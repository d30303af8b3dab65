"""Other people's layers that compute what a plain layer with some weight computes.

Transformers' `Conv1D` is a linear layer with its weight transposed; a weight-standardised convolution is a plain one
with the standardised weight; many subclasses of `nn.Conv2d` and `nn.Linear` only initialise in a way of their own. What
they compute is tried on random inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ranksearch.networks import copy_model, seeded
from ranksearch.rewriting.alike import plain_layer
from ranksearch.rewriting.base import Rewrite

_CONVOLUTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.Conv1d: F.conv1d,
    nn.Conv2d: F.conv2d,
    nn.Conv3d: F.conv3d,
}

_POSITIONS = 3
"""Of an input that is tried, along each axis."""


class Imitate(Rewrite):
    """A leaf that has a weight, is none of torch's own, and computes in evaluation mode what a plain layer does."""

    def applied(self, module: nn.Module) -> nn.Module | None:
        weight = module._parameters.get("weight")
        if type(module).__module__.startswith("torch.") or weight is None or any(module.children()):
            return None
        if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
            return None
        with torch.no_grad(), seeded(0, weight.device):
            tried = copy_model(module).eval()
            kind = next((kind for kind in _CONVOLUTIONS if isinstance(module, kind)), None)
            made = _linears(tried, weight) if kind is None else _convolutions(tried, kind)
            for inputs, plain in made:
                if _same(tried, plain, inputs):
                    return plain
        return None


def _linears(module: nn.Module, weight: Tensor) -> Iterator[tuple[Tensor, nn.Module]]:
    """Linear layers that a module with a matrix may be, with an input to try them on."""
    if weight.dim() != 2:
        return
    for stored in (weight, weight.T):
        inputs = torch.randn(2, _POSITIONS, stored.shape[1], device=weight.device).to(weight.dtype)
        for used in (stored, *_weights_used(module, inputs, F.linear)):
            if used.shape == stored.shape:
                yield inputs, plain_layer(nn.Linear, module, used)


def _convolutions(module: Any, kind: type[nn.Module]) -> Iterator[tuple[Tensor, nn.Module]]:
    """The plain convolution that a subclass may be."""
    sizes = [
        d * (k - 1) + 1 + s * _POSITIONS
        for d, k, s in zip(module.dilation, module.kernel_size, module.stride, strict=True)
    ]
    weight = module._parameters["weight"]
    inputs = torch.randn(2, module.in_channels, *sizes, device=weight.device).to(weight.dtype)
    for used in _weights_used(module, inputs, _CONVOLUTIONS[kind]):
        if used.shape[:1] == (module.out_channels,):
            yield inputs, plain_layer(kind, module, used)


def _weights_used(module: nn.Module, inputs: Tensor, function: Callable[..., Tensor]) -> Sequence[Tensor]:
    """The weights with which a module calls a function of torch."""
    noted = _Noted(function)
    with noted:
        try:
            module(inputs)
        except Exception:  # a module of other people's, which may not take such inputs
            return ()
    return noted.weights


class _Noted(TorchFunctionMode):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is self.function:
            self.weights.append(args[1] if len(args) > 1 else kwargs["weight"])
        return func(*args, **kwargs)


def _same(module: nn.Module, plain: nn.Module, inputs: Tensor) -> bool:
    try:
        wanted, found = module(inputs), plain(inputs)
    except Exception:
        return False
    if not isinstance(wanted, Tensor) or wanted.shape != found.shape or not wanted.isfinite().all():
        return False
    tolerance = 1e-5 if inputs.dtype.itemsize >= 4 else 1e-2
    return bool((wanted - found).abs().max() <= tolerance * wanted.abs().max().clamp_min(1e-30))
