"""A float ONNX file made int8 by onnxruntime, with some of its layers left float.

Weights are int8 with a scale per output channel, activations uint8 with one scale per tensor: the pair that onnxruntime
is fastest with on x86 CPUs. Ranges are the extremes over the calibration images (Jacob et al. 2018, arXiv:1712.05877).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import nn

from ranksearch.errors import InputError, blaming, expected
from ranksearch.networks import Batch, tensors

WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
"""Operations that begin a layer."""


@dataclass(frozen=True)
class GraphLayer:
    """A weighted operation and what follows it up to the next one, by the names of the nodes."""

    name: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Calibrated:
    """A float graph with the ranges of its tensors."""

    graph: Any
    ranges: Any
    layers: tuple[GraphLayer, ...]

    def write(self, path: Path, kept: Collection[int] = ()) -> None:
        """Write the int8 file; layers of the numbers in `kept` stay float."""
        import onnx
        from onnxruntime.quantization import QDQQuantizer, QuantType

        copy = onnx.ModelProto()
        copy.CopyFrom(self.graph)
        floats = [name for k in kept for name in self.layers[k].nodes]
        with _blamed():
            quantizer = QDQQuantizer(
                copy,
                True,  # per channel
                False,  # all 8 bits of the weights
                QuantType.QInt8,
                QuantType.QUInt8,
                self.ranges,
                [],
                floats,
                _operations(),
                {},
            )
            quantizer.quantize_model()
            onnx.save(quantizer.model.model, path)


def calibrated(path: Path, batches: Sequence[Batch], model: nn.Module) -> Calibrated:
    """The graph of a float file, and the ranges of its tensors over some batches.

    model: which the file was made of. Raises InputError where there is nothing to quantise.
    """
    import onnx
    from onnxruntime.quantization import create_calibrator

    graph = onnx.load(path)
    for node in graph.graph.node:
        node.name = node.output[0]
    layers = layers_of(graph, model)
    if not layers:
        raise InputError(expected("quantize", "a model with convolutions or linear layers", "none"))
    with tempfile.TemporaryDirectory() as folder, _blamed():
        named, augmented = Path(folder, "named.onnx"), Path(folder, "augmented.onnx")
        graph = onnx.shape_inference.infer_shapes(graph)
        onnx.save(graph, named)
        calibrator = create_calibrator(named, _operations(), str(augmented))
        calibrator.collect_data(_reader([one.name for one in graph.graph.input], batches))
        ranges = calibrator.compute_data()
    return Calibrated(graph, ranges, layers)


def layers_of(graph: Any, model: nn.Module) -> tuple[GraphLayer, ...]:
    """The layers of a graph in its order; what comes before the first one belongs to it.

    A layer goes by the name of the module whose weight it has: the exporter may have transposed the weight, and made
    up a name for it. Where the weight is of no module, it goes by the name of its output.
    """
    names = _names_of_weights(graph, model)
    found: list[tuple[str, list[str]]] = []
    before: list[str] = []
    for node in graph.graph.node:
        if node.op_type in WEIGHTED:
            name = next((names[one] for one in node.input[1:2] if one in names), node.output[0])
            found.append((name, [*before, node.name]))
            before = []
        else:
            (found[-1][1] if found else before).append(node.name)
    return tuple(GraphLayer(name, tuple(nodes)) for name, nodes in found)


def _names_of_weights(graph: Any, model: nn.Module) -> dict[str, str]:
    """By the names of a graph's constants, those of the modules whose weights they are."""
    from onnx.numpy_helper import to_array

    modules = {name for name, _ in model.named_modules()}
    found, unknown = {}, list[Any]()
    for constant in graph.graph.initializer:
        module, _, last = constant.name.rpartition(".")
        if last == "weight" and module in modules:
            found[constant.name] = module
        elif len(constant.dims) == 2:
            unknown.append(constant)
    if unknown:
        own = {name: m.weight.detach().cpu() for name, m in model.named_modules() if isinstance(m, nn.Linear)}
        names = {_content(each): name for name, w in own.items() for each in (w.numpy(), w.T.numpy())}
        found |= {c.name: names[key] for c in unknown if (key := _content(to_array(c))) in names}
    return found


def _content(values: Any) -> tuple[Any, ...]:
    """Equal for equal arrays, and small for large ones."""
    return (values.shape, str(values.dtype), sha256(values.tobytes()).digest())


def _reader(names: Sequence[str], batches: Sequence[Batch]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self._left: Iterator[Batch] = iter(batches)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self._left, None)
            if batch is None:
                return None
            arrays = [tensor.detach().cpu().numpy() for tensor in tensors(batch)]
            return dict(zip(names, arrays, strict=True))

    return Reader()


def _operations() -> list[str]:
    """What onnxruntime can quantise in this way."""
    from onnxruntime.quantization.registry import QDQRegistry

    return list(QDQRegistry)


@contextmanager
def _blamed() -> Iterator[None]:
    """Whatever goes wrong in onnxruntime is about the model. Its notes go to the root logger, which it sets up for
    that: they are left out, and the logger stays as it is."""
    root, nobody = logging.getLogger(), logging.NullHandler()
    level = root.level
    root.addHandler(nobody)
    root.setLevel(logging.CRITICAL)
    try:
        with blaming("quantize", "a model that onnxruntime can quantise"):
            yield
    finally:
        root.setLevel(level)
        root.removeHandler(nobody)
