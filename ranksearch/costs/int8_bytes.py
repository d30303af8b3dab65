"""`int8_bytes`: the tensors of a file in which layers of a plan are int8."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ranksearch.costs.bytes import Bytes

if TYPE_CHECKING:
    from ranksearch.networks import Chain, Layer

INT8_BYTES = "int8_bytes"

_SCALE = 5
"""Bytes of the scale, float32, and the zero point, int8, of an output channel's weights."""

_BIAS = 12
"""Bytes of an entry of a bias as int32, with its scale and zero point."""


class Int8Bytes(Bytes):
    """As `bytes`, but a candidate may have int8 weights, and then counts as onnxruntime stores it.

    A built model does not say which of its layers are to be int8, so this is not checked against it. The graph of the
    ONNX file, which names every tensor and operation, is not counted.
    """

    name = INT8_BYTES
    unit = "MB, partly int8"
    exact = False


def as_int8(layer: Layer, chain: Chain = ()) -> int:
    """Bytes of a layer's int8 weights, of the dense layer where it is not implemented as a chain."""
    shapes = [factor.shape(layer.kernel_size) for factor in chain] or [(layer.out_channels, layer.fan_in)]
    return sum(prod(shape) + _SCALE * shape[0] for shape in shapes) + layer.bias * _BIAS * layer.out_channels
