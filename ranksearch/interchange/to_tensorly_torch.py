"""`tensorly_torch`: factorisation and rank for `FactorizedConv` and `FactorizedLinear` of tensorly-torch 0.5."""

from __future__ import annotations

from ranksearch.interchange.base import Entry, NoEntry, PlanExporter
from ranksearch.interchange.layers import geometry
from ranksearch.networks import Layer
from ranksearch.planning import LayerRecord


class TensorlyTorch(PlanExporter):
    """CP, Tucker and tensor-train kernels; tensorly-torch runs them as chains (`implementation="factorized"`).

    Kernels are (O, I, axes…), those of trains (I, axes…, O). CP has one weight more for each component, Tucker one
    square matrix more for each spatial axis; they count as parameters. `svd` of matrices is CP of two modes.
    """

    name = "tensorly_torch"
    packages = ("tltorch",)
    install = "pip install tensorly-torch"
    decompositions = ("tucker2", "tensor_train", "svd")

    def entry(self, layer: LayerRecord) -> Entry:
        runs = geometry(layer)
        _check(runs)
        match layer.decomposition, layer.form:
            case "cp", "axes":
                return Entry({"factorization": "CP", "rank": layer.ranks[0]}, layer.ranks[0])
            case "cp", "joint" if sum(k > 1 for k in runs.kernel_size) == 1:
                # With one wide axis both forms are the same, but for a factor of 1 × R for each narrow one.
                extra = layer.ranks[0] * len(runs.kernel_size)
                return Entry({"factorization": "CP", "rank": layer.ranks[0]}, extra)
            case "cp", "joint":
                raise NoEntry("its CP has one factor for each spatial axis, not one for all of them")
            case "tucker2", _:
                first, second = layer.ranks
                rank = [second, first, *runs.kernel_size]
                return Entry({"factorization": "Tucker", "rank": rank}, sum(k * k for k in runs.kernel_size))
            case "tensor_train", "ascending":
                _check_train(layer.ranks, runs.kernel_size)
                return Entry({"factorization": "TT", "rank": [1, *layer.ranks, 1]})
            case "tensor_train", _:
                raise NoEntry("its trains have the spatial axes in ascending order")
            case "svd", _ if layer.kind == "linear":
                return Entry({"factorization": "CP", "rank": layer.ranks[0]}, layer.ranks[0])
            case "svd", _ if set(runs.kernel_size) == {1}:
                extra = layer.ranks[0] * (1 + len(runs.kernel_size))
                return Entry({"factorization": "CP", "rank": layer.ranks[0]}, extra)
            case "svd", _:
                raise NoEntry("it has no svd of kernels wider than 1")
            case _:
                raise NoEntry(f"it has no {layer.decomposition}")

    def usage(self, path: str) -> str:
        return f"""\
import json

from tltorch import FactorizedConv, FactorizedLinear
from torch import nn

with open({path!r}, encoding="utf-8") as file:
    plan = json.load(file)
for name, how in plan["layers"].items():
    layer = model.get_submodule(name)
    if isinstance(layer, nn.Linear):
        modes = {{"in_tensorized_features": (layer.in_features,), "out_tensorized_features": (layer.out_features,)}}
        made = FactorizedLinear.from_linear(
            layer, auto_tensorize=False, bias=layer.bias is not None, implementation="factorized", **modes, **how
        )
    else:
        made = FactorizedConv.from_conv(layer, implementation="factorized", **how)
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, made)
"""


def _check(runs: Layer) -> None:
    """What `from_conv` takes over from a layer: the stride of the first axis for all axes, and no padding mode."""
    if len(set(runs.stride)) > 1:
        raise NoEntry(f"it takes one stride for all axes, not {runs.stride}")
    if runs.padding_mode != "zeros":
        raise NoEntry(f"it pads with zeros, not {runs.padding_mode!r}")
    if runs.padding == "same":
        raise NoEntry("it takes padding as numbers, not 'same'")


def _check_train(ranks: tuple[int, ...], kernel_size: tuple[int, ...]) -> None:
    """Its train is a sequence of truncated SVDs, in which no rank can exceed the one before times the axis."""
    for before, size, after in zip(ranks, kernel_size, ranks[1:], strict=False):
        if after > before * size:
            raise NoEntry(f"its decomposition has no rank {after} behind rank {before} and an axis of {size}")
