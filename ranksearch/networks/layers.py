"""The layers of a model: what they are, what they cost, and which of them can be factorised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from ranksearch.errors import InputError, expected
from ranksearch.networks.batches import Batch
from ranksearch.networks.entanglement import entangled
from ranksearch.networks.recording import run_recorded, shapes
from ranksearch.networks.running import Output, attention_fast_path, first_example, one_tensor
from ranksearch.networks.surgery import copy_model

Kind = Literal["linear", "conv1d", "conv2d", "conv3d"]
Size = tuple[int, ...]


@dataclass(frozen=True)
class Call:
    """One use of a layer in the forward pass of one example: sizes without batch and channels.

    For a Linear both sizes are its leading positions: () for (N, I) inputs, (T,) for (N, T, I).
    """

    in_size: Size
    out_size: Size


@dataclass(frozen=True)
class Layer:
    """Geometry of a `Conv1d/2d/3d` or `Linear`; its kernel has the shape (O, I / groups, *kernel_size)."""

    name: str
    kind: Kind
    in_channels: int
    out_channels: int
    kernel_size: Size
    stride: Size
    padding: Size | Literal["same"]
    dilation: Size
    padding_mode: str
    groups: int
    bias: bool
    calls: tuple[Call, ...]
    reason: str | None = None
    """Why the layer has to stay dense; None if it can be factorised."""

    @property
    def spatial_dims(self) -> int:
        return len(self.kernel_size)

    @property
    def fan_in(self) -> int:
        """Entries of one row of the kernel as an O × (I·kh·kw) matrix."""
        return self.in_channels // self.groups * prod(self.kernel_size)


LAYER_TYPES: dict[type[nn.Module], Kind] = {
    nn.Linear: "linear",
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
}


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules themselves, by the first name under which each is registered."""
    kinds = tuple(LAYER_TYPES)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def list_layers(model: nn.Module) -> tuple[Layer, ...]:
    """All `Conv1d/2d/3d` and `Linear` modules in order of registration, without running the model.

    `calls` is empty, and `reason` only covers what the modules themselves show. A module registered under
    several names is one layer, under its first name. Transposed convolutions are not included.
    """
    _check_plain(model)
    owners = list(_owners(model))
    return tuple(
        _geometry(name, module, _static_reason(module, owners))
        for name, module in named_layers(model).items()
    )


def discover(
    model: nn.Module, example: Batch, *, ignore: Sequence[str] = (), output: Output = one_tensor
) -> tuple[Layer, ...]:
    """All `Conv1d/2d/3d` and `Linear` modules, in order of their first call; those never called come last.

    `example` is a batch; its first example is run, on a copy of the model in evaluation mode. A
    convolution of B examples at once (a model that folds patches or frames into the batch) counts as B calls.
    `ignore` holds shell patterns over layer names. `reason` says why a layer has to stay dense.

    `output` selects one tensor from what the model returns.

    Raises InputError if the model does not run on the example, if `output` finds no tensor, or if a pattern
    matches no layer.
    """
    listed = list_layers(model)
    reasons = {layer.name: layer.reason for layer in listed if layer.reason} | _ignored(model, listed, ignore)
    copied = copy_model(model).eval()
    example = first_example(copied, example)
    with attention_fast_path(False):
        calls, reference = run_recorded(copied, named_layers(copied), example, shapes, output)
    reasons |= entangled(
        copied, [x.name for x in listed if x.name not in reasons], example, calls, reference, output
    )
    uncalled = {x.name: "never called in the forward pass" for x in listed if x.name not in calls}
    reasons = uncalled | reasons
    position = {name: k for k, name in enumerate(calls)}
    return tuple(
        replace(
            layer,
            calls=tuple(call for shapes in calls.get(layer.name, ()) for call in _calls(layer, *shapes)),
            reason=reasons.get(layer.name),
        )
        for layer in sorted(listed, key=lambda x: position.get(x.name, len(position)))
    )


def _check_plain(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if type(module).__name__ == "OptimizedModule" and hasattr(module, "_orig_mod"):
            raise InputError(
                expected(
                    name or "model", "a plain module", "one from torch.compile", "Compile it afterwards."
                )
            )
        if any(is_lazy(p) for p in module._parameters.values()):
            way_out = "Run the model once on real input."
            raise InputError(expected(name or "model", "parameters with a shape", "lazy ones", way_out))


def _geometry(name: str, module: nn.Module, reason: str | None) -> Layer:
    if isinstance(module, nn.Linear):
        return Layer(
            name=name,
            kind="linear",
            in_channels=module.in_features,
            out_channels=module.out_features,
            kernel_size=(),
            stride=(),
            padding=(),
            dilation=(),
            padding_mode="zeros",
            groups=1,
            bias=module.bias is not None,
            calls=(),
            reason=reason,
        )
    assert isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
    padding: Size | Literal["same"]
    if isinstance(module.padding, str):
        padding = "same" if module.padding == "same" else (0,) * len(module.kernel_size)
    else:
        padding = tuple(module.padding)
    return Layer(
        name=name,
        kind=next(kind for cls, kind in LAYER_TYPES.items() if isinstance(module, cls)),
        in_channels=module.in_channels,
        out_channels=module.out_channels,
        kernel_size=tuple(module.kernel_size),
        stride=tuple(module.stride),
        padding=padding,
        dilation=tuple(module.dilation),
        padding_mode=module.padding_mode,
        groups=module.groups,
        bias=module.bias is not None,
        calls=(),
        reason=reason,
    )


_Owner = tuple[nn.Module, str, Tensor]
"""A module, the name of one of its parameters or buffers in the model, and the tensor."""


def _owners(model: nn.Module) -> Iterator[_Owner]:
    for name, module in model.named_modules():
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                yield module, f"{name}.{key}".lstrip("."), tensor


def _static_reason(module: nn.Module, owners: Sequence[_Owner]) -> str | None:
    weight = module._parameters.get("weight")
    if weight is None or parametrize.is_parametrized(module):
        return "its weight is computed from other parameters (a parametrisation such as weight_norm)"
    if type(module) not in LAYER_TYPES:
        return f"{type(module).__name__} is a subclass, which may behave differently"
    groups = cast(int, getattr(module, "groups", 1))
    if groups > 1:
        return "depthwise convolution" if weight.shape[1] == 1 else f"grouped convolution (groups={groups})"
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


def _ignored(model: nn.Module, layers: Sequence[Layer], patterns: Sequence[str]) -> dict[str, str]:
    modules = dict(model.named_modules())
    aliases: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        aliases.setdefault(module, []).append(name)
    reasons: dict[str, str] = {}
    for pattern in patterns:
        matched = [x.name for x in layers if any(fnmatchcase(n, pattern) for n in aliases[modules[x.name]])]
        if not matched:
            raise unmatched("ignore", pattern, layers)
        reasons = dict.fromkeys(matched, f"ignored by {pattern!r}") | reasons
    return reasons


def unmatched(option: str, pattern: str, layers: Sequence[Layer]) -> InputError:
    """The message about a pattern that matches no layer."""
    shown = ", ".join(layer.name for layer in layers[:5]) + (", …" if len(layers) > 5 else "")
    return InputError(expected(option, "a pattern that matches a layer", repr(pattern), f"Layers: {shown}."))


def _calls(layer: Layer, given: Size, output: Size) -> list[Call]:
    """One call, or one for each example of a folded batch."""
    dims = layer.spatial_dims
    if layer.kind == "linear":
        positions = given[1:-1] if given[0] == 1 else given[:-1]
        return [Call(positions, positions)]
    batch = given[0] if len(given) == dims + 2 else 1
    return [Call(given[-dims:], output[-dims:])] * batch


def kernel_shape(layer: Layer) -> tuple[int, ...]:
    """(O, I / groups, *kernel_size)."""
    return (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
