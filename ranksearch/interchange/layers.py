"""Layers of a plan file, without the model: how they run, and whether their chains are what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ranksearch.costs import Cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, expected
from ranksearch.networks import Layer, Size
from ranksearch.planning import Candidate, FactorRecord, LayerRecord, chain_record, misfit

_DIMS = {"linear": 0, "conv1d": 1, "conv2d": 2, "conv3d": 3}
"""The kinds of layers that plans elsewhere are made of, with the spatial axes of their kernels."""


def planned(layer: LayerRecord) -> str:
    """The decomposition, form and ranks of a layer in words: `cp[joint] 24`."""
    form = f"[{layer.form}]" if layer.form else ""
    return f"{layer.decomposition}{form} {'×'.join(map(str, layer.ranks))}"


@dataclass(frozen=True)
class Geometry:
    """How a layer runs, whatever it is made of; sizes are empty for a linear layer."""

    kernel_size: Size
    stride: Size
    padding: Size | Literal["same"]
    padding_mode: str
    dilation: Size
    bias: bool


def geometry(layer: LayerRecord) -> Geometry:
    """The geometry of a layer that is factorised, from its chain: each axis is covered by one of the factors."""
    assert layer.chain  # `check_layer` has looked
    over = {axis: factor for factor in layer.chain for axis in factor.axes}
    axes = [(axis, over[axis]) for axis in sorted(over)]
    paddings = [factor.padding for factor in over.values()]
    modes = {factor.padding_mode for factor in over.values()}
    return Geometry(
        kernel_size=tuple(factor.kernel_size[axis] for axis, factor in axes),
        stride=tuple(factor.stride[axis] for axis, factor in axes),
        padding="same" if "same" in paddings else tuple(int(f.padding[axis]) for axis, f in axes),
        padding_mode=modes.pop() if len(modes) == 1 else "zeros",
        dilation=tuple(factor.dilation[axis] for axis, factor in axes),
        bias=layer.chain[-1].bias,
    )


def is_known(layer: LayerRecord) -> bool:
    """Whether plans elsewhere may be about layers of this kind."""
    return layer.kind in _DIMS


def groups_of(layer: LayerRecord) -> int:
    """How many groups of channels the dense layer has, from its chain."""
    inputs = layer.chain[0].in_channels if layer.chain else layer.shape[1]
    return max(1, inputs // layer.shape[1])


def check_layer(layer: LayerRecord) -> None:
    """Raises InputError for a factorised layer whose chain is missing, or is not that of its decomposition and ranks.

    The chain of a decomposition that is not known here has to cover every axis of the kernel once.
    """
    what = f"plan, layer {layer.name}"
    if layer.chain is None:
        wanted, way_out = "a plan file of version 2, with the chains of layers", "Make the plan again."
        raise InputError(expected(what, wanted, "one of version 1", way_out))
    axes = len(layer.shape) - 2
    fits = axes == _DIMS.get(layer.kind)
    covered = sorted(axis for factor in layer.chain for axis in factor.axes)
    if (
        not layer.chain
        or not fits
        or covered != [*range(axes)]
        or not all(_fits(layer, f) for f in layer.chain)
    ):
        raise InputError(expected(what, f"a chain for a kernel of shape {layer.shape}", planned(layer)))
    if "params" not in layer.cost:
        raise InputError(expected(f"{what}, cost", "a number of parameters", "none"))
    if layer.decomposition not in DECOMPOSITIONS.names():
        return
    known = _layer(layer)
    if wrong := misfit(known, layer.decomposition, layer.form, layer.ranks):
        raise InputError(expected(what, *wrong))
    candidate = Candidate(layer.decomposition, layer.form, layer.ranks, Cost(), layer.error)
    if chain_record(known, candidate) != layer.chain:
        raise InputError(expected(what, f"the chain of {planned(layer)}", "another one"))


def _fits(layer: LayerRecord, factor: FactorRecord) -> bool:
    """Whether a factor is of the layer's kind, with a size for every axis."""
    sizes = [factor.kernel_size, factor.stride, factor.dilation]
    sizes += [factor.padding] if isinstance(factor.padding, tuple) else []
    return factor.kind == layer.kind and all(len(size) == len(layer.shape) - 2 for size in sizes)


def _layer(layer: LayerRecord) -> Layer:
    """The layer as the inventory of a model has it, but for its calls."""
    runs = geometry(layer)
    return Layer(
        name=layer.name,
        kind=layer.kind,
        in_channels=layer.shape[1] * groups_of(layer),
        out_channels=layer.shape[0],
        kernel_size=layer.shape[2:],
        stride=runs.stride,
        padding=runs.padding,
        dilation=runs.dilation,
        padding_mode=runs.padding_mode,
        groups=groups_of(layer),
        bias=runs.bias,
        calls=(),
    )
