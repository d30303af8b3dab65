"""BatchNorm folded into the convolution or linear layer before it, which is exact in evaluation mode."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from ranksearch.networks import Batch, call_once, copy_model, replace_modules

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def folded(model: nn.Module, example: Batch, exact: Callable[[nn.Module], bool]) -> nn.Module:
    """A copy of a model in evaluation mode without BatchNorm directly after a layer, as far as the copy is exact.

    Whether a layer's output also goes elsewhere shows in what the model returns alone: if folding all is not exact,
    pairs are folded one by one.
    """
    pairs = _pairs(model, example)
    if exact(whole := _without(model, pairs)):
        return whole
    kept: list[tuple[str, str]] = []
    for pair in pairs:
        if exact(_without(model, [*kept, pair])):
            kept.append(pair)
    return _without(model, kept)


def _without(model: nn.Module, pairs: Sequence[tuple[str, str]]) -> nn.Module:
    copied = copy_model(model)
    replacements: dict[nn.Module, nn.Module] = {}
    for names in pairs:
        layer, norm = map(copied.get_submodule, names)
        fuse: Any = fuse_linear_bn_eval if isinstance(layer, nn.Linear) else fuse_conv_bn_eval
        replacements |= {layer: fuse(layer, norm), norm: nn.Identity()}
    return replace_modules(copied, replacements).eval()


def _pairs(model: nn.Module, example: Batch) -> list[tuple[str, str]]:
    """Names of layers and of the BatchNorm that takes their output, both used once."""
    names = {module: name for name, module in model.named_modules()}
    outputs: list[tuple[nn.Module, Tensor]] = []
    inputs: list[tuple[nn.Module, Any]] = []

    def left(module: nn.Module, _: Any, output: Tensor) -> None:
        outputs.append((module, output))

    def came(module: nn.Module, args: Sequence[Any]) -> None:
        inputs.append((module, args[0] if args else None))

    handles = [m.register_forward_hook(left) for m in model.modules() if type(m) in (*_CONVS, nn.Linear)]
    handles += [
        m.register_forward_pre_hook(came)
        for m in model.modules()
        if type(m) in _NORMS and m.running_mean is not None and m.running_var is not None
    ]
    try:
        call_once(model, example)
    finally:
        for handle in handles:
            handle.remove()
    used = [module for module, _ in (*outputs, *inputs)]
    once = {module for module in used if used.count(module) == 1}
    return [
        (names[layer], names[norm])
        for norm, given in inputs
        for layer, output in outputs
        if given is output and {layer, norm} <= once and _has_channels(layer, given)
    ]


def _has_channels(layer: nn.Module, output: Tensor) -> bool:
    """Whether BatchNorm normalises the layer's output channels: those of a linear layer are its last axis."""
    return not isinstance(layer, nn.Linear) or output.dim() == 2
