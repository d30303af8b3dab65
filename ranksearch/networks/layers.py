"""The layers of a model: what they are, what they cost, and which of them can be factorised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from math import prod
from typing import Any, Literal, cast

from torch import Tensor, nn

from ranksearch.errors import InputError, expected
from ranksearch.networks.batches import Batch
from ranksearch.networks.entanglement import entangled
from ranksearch.networks.kinds import KINDS, LAYER_TYPES, Kind, Traits, groups_of, kind_of, weight_of
from ranksearch.networks.outputs import Output, one_tensor
from ranksearch.networks.plain import check_plain, owners_of, static_reason
from ranksearch.networks.recording import run_recorded, shapes
from ranksearch.networks.running import attention_fast_path, first_example
from ranksearch.networks.surgery import copy_model

Size = tuple[int, ...]

UNCALLED = "never called in the forward pass"
"""Why a layer stays dense that nothing calls on the first example, unless its kernel is shown not to matter."""


@dataclass(frozen=True)
class Call:
    """One use of a layer in the forward pass of one example: sizes without batch and channels.

    For a Linear both sizes are its leading positions: () for (N, I) inputs, (T,) for (N, T, I); for an Embedding those
    of its indices.
    """

    in_size: Size
    out_size: Size


@dataclass(frozen=True, repr=False)
class Layer:
    """Geometry of a layer of one of the `KINDS`; its kernel has the shape (O, I / groups, *kernel_size)."""

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
    itemsize: int = 4
    """Bytes of one weight."""
    output_padding: Size = ()
    """Of a transposed convolution."""
    padding_idx: int | None = None
    """Of an Embedding: the index whose vector gets no gradient."""

    def __repr__(self) -> str:
        """Without what only some kinds have: measurements that are kept by it stay valid."""
        stated = {name: value for name, value in vars(self).items() if value not in _ABSENT.get(name, [])}
        return f"Layer({', '.join(f'{name}={value!r}' for name, value in stated.items())})"

    @property
    def group(self) -> Layer:
        """One of its groups of channels, as a layer of its own; the layer itself where there is one."""
        if self.groups == 1:
            return self
        ins, outs = self.in_channels // self.groups, self.out_channels // self.groups
        return replace(self, in_channels=ins, out_channels=outs, groups=1)

    @property
    def traits(self) -> Traits:
        """What sets its kind apart."""
        return KINDS[self.kind]

    @property
    def spatial_dims(self) -> int:
        return len(self.kernel_size)

    @property
    def fan_in(self) -> int:
        """Entries of one row of the kernel as an O × (I·kh·kw) matrix."""
        return self.in_channels // self.groups * prod(self.kernel_size)


_ABSENT: dict[str, list[object]] = {"output_padding": [()], "padding_idx": [None]}


def named_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The modules themselves, by the first name under which each is registered."""
    kinds = tuple(LAYER_TYPES)
    return {name: module for name, module in model.named_modules() if isinstance(module, kinds)}


def list_layers(model: nn.Module) -> tuple[Layer, ...]:
    """All modules of the `KINDS`, in order of registration, without running the model.

    `calls` is empty, and `reason` only covers what the modules themselves show. A module registered under
    several names is one layer, under its first name.
    """
    check_plain(model)
    owners = list(owners_of(model))
    return tuple(
        _geometry(name, module, static_reason(module, owners)) for name, module in named_layers(model).items()
    )


def discover(
    model: nn.Module, example: Batch, *, ignore: Sequence[str] = (), output: Output = one_tensor
) -> tuple[Layer, ...]:
    """All modules of the `KINDS`, in order of their first call; those never called come last.

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
    uncalled = {x.name: UNCALLED for x in listed if x.name not in calls}
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


def _geometry(name: str, module: nn.Module, reason: str | None) -> Layer:
    """By the weight itself where there is one: that is what the module computes with, whatever its attributes say."""
    kind = kind_of(module)
    weight, plain = weight_of(module), cast(Any, module)
    bias = getattr(module, "bias", None) is not None
    common: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "bias": bias,
        "calls": (),
        "reason": reason,
        "itemsize": 4 if weight is None else weight.element_size(),
    }
    if KINDS[kind].dims:
        return _convolution(
            plain, None if weight is None else KINDS[kind].kernel(weight, groups_of(module)), common
        )
    if KINDS[kind].lookup:
        sizes = (plain.embedding_dim, plain.num_embeddings)
        common["padding_idx"] = plain.padding_idx
    else:
        sizes = (_size(module, "out_features"), _size(module, "in_features"))
    out_channels, in_channels = sizes if weight is None else KINDS[kind].kernel(weight).shape
    return Layer(
        in_channels=in_channels,
        out_channels=out_channels,
        kernel_size=(),
        stride=(),
        padding=(),
        dilation=(),
        padding_mode="zeros",
        groups=1,
        **common,
    )


def _convolution(module: Any, kernel: Tensor | None, common: Mapping[str, Any]) -> Layer:
    """kernel: An (O, I / groups, *kernel_size) tensor."""
    traits = KINDS[common["kind"]]
    taps = tuple(module.kernel_size if kernel is None else kernel.shape[2:])
    padding: Size | Literal["same"]
    if isinstance(module.padding, str):
        padding = "same" if module.padding == "same" else (0,) * len(taps)
    else:
        padding = tuple(module.padding)
    ins, outs = module.in_channels, module.out_channels
    if kernel is not None:
        outs, ins = kernel.shape[0], kernel.shape[1] * module.groups
    return Layer(
        in_channels=ins,
        out_channels=outs,
        kernel_size=taps,
        stride=tuple(module.stride),
        padding=padding,
        dilation=tuple(module.dilation),
        padding_mode=module.padding_mode,
        groups=module.groups,
        output_padding=tuple(module.output_padding) if traits.transposed else (),
        **common,
    )


def _size(module: nn.Module, name: str) -> int:
    """A size that a layer without a weight of its own may not know either."""
    return cast(int, getattr(module, name, 0))


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
    if not dims:
        positions = given if layer.traits.lookup else given[:-1]
        positions = positions[1:] if given[:1] == (1,) else positions
        return [Call(positions, positions)]
    batch = given[0] if len(given) == dims + 2 else 1
    return [Call(given[-dims:], output[-dims:])] * batch


def kernel_shape(layer: Layer) -> tuple[int, ...]:
    """(O, I / groups, *kernel_size)."""
    return (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
