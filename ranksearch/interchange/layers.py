"""Layers of a plan file, without the model: how they run, and whether their chains are what they say."""

from __future__ import annotations

from ranksearch.costs import Cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, expected
from ranksearch.networks import KINDS, Layer
from ranksearch.planning import Candidate, FactorRecord, LayerRecord, chain_record, misfit


def planned(layer: LayerRecord) -> str:
    """The decomposition, form and ranks of a layer in words: `cp[joint] 24`."""
    form = f"[{layer.form}]" if layer.form else ""
    return f"{layer.decomposition}{form} {'×'.join(map(str, layer.ranks))}"


def geometry(layer: LayerRecord) -> Layer:
    """The dense layer of one that is factorised, but for its calls, from its chain: each axis is covered by one of the
    factors."""
    assert layer.chain  # `check_layer` has looked
    over = {axis: factor for factor in layer.chain for axis in factor.axes}
    axes = [(axis, over[axis]) for axis in sorted(over)]
    paddings = [factor.padding for factor in over.values()]
    modes = {factor.padding_mode for factor in over.values()}
    return Layer(
        name=layer.name,
        kind=layer.kind,
        in_channels=layer.chain[0].in_channels,
        out_channels=layer.shape[0],
        kernel_size=layer.shape[2:],
        stride=tuple(factor.stride[axis] for axis, factor in axes),
        padding="same" if "same" in paddings else tuple(int(f.padding[axis]) for axis, f in axes),
        dilation=tuple(factor.dilation[axis] for axis, factor in axes),
        padding_mode=modes.pop() if len(modes) == 1 else "zeros",
        groups=max(1, layer.chain[0].in_channels // layer.shape[1]),
        bias=layer.chain[-1].bias,
        calls=(),
    )


def is_known(layer: LayerRecord) -> bool:
    """Whether plans elsewhere may be about layers of this kind."""
    return not KINDS[layer.kind].inputs_first


def check_layer(layer: LayerRecord) -> None:
    """Raises InputError for a factorised layer whose chain is missing, or is not that of its decomposition and ranks.

    The chain of a decomposition that is not known here has to cover every axis of the kernel once.
    """
    what = f"plan, layer {layer.name}"
    if layer.chain is None:
        wanted, way_out = "a plan file of version 2, with the chains of layers", "Make the plan again."
        raise InputError(expected(what, wanted, "one of version 1", way_out))
    axes = len(layer.shape) - 2
    fits = axes == KINDS[layer.kind].dims
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
    known = geometry(layer)
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
