"""The decompositions, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranksearch.registry import Registry

if TYPE_CHECKING:
    from ranksearch.decompositions.base import Decomposition


def _is_one(thing: Any) -> bool:
    from ranksearch.decompositions.base import Decomposition

    return isinstance(thing, Decomposition)


DECOMPOSITIONS: Registry[Decomposition] = Registry(
    "decompositions", "ranksearch.decompositions", _is_one, "a Decomposition"
)

_HERE = "ranksearch.decompositions"
DECOMPOSITIONS.offer("svd", f"{_HERE}.svd:SVD", "a narrow copy of the layer, then a pointwise layer")
DECOMPOSITIONS.offer(
    "spatial_svd", f"{_HERE}.spatial_svd:SpatialSVD", "a vertical, then a horizontal convolution"
)
DECOMPOSITIONS.offer("tucker2", f"{_HERE}.tucker2:Tucker2", "pointwise, a narrow core, pointwise")
DECOMPOSITIONS.offer("cp", f"{_HERE}.cp:CP", "pointwise, depthwise, pointwise")
DECOMPOSITIONS.offer(
    "tensor_train", f"{_HERE}.tensor_train:TensorTrain", "one convolution per index of the kernel"
)
DECOMPOSITIONS.offer(
    "grouped_svd",
    f"{_HERE}.grouped_svd:GroupedSVD",
    "a grouped, narrow copy of the layer, then a pointwise layer; only where it is named",
    usual=False,
)
