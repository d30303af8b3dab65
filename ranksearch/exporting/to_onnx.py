"""`onnx`: an ONNX graph, for ONNX Runtime and other programs. BatchNorm is folded into the convolution before it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ranksearch.exporting.axes import batch_axes
from ranksearch.exporting.base import Exporter
from ranksearch.networks import Batch, arguments, tensors


class ONNX(Exporter):
    """An ONNX graph with its weights in one file."""

    name = "onnx"
    file = "model.onnx"
    packages = ("onnx", "onnxscript", "onnxruntime")
    install = "pip install 'ranksearch[onnx]'"
    folds_batchnorm = True

    def export(self, model: nn.Module, example: Batch, path: Path) -> None:
        import onnx

        args, kwargs = arguments(example)
        torch.onnx.export(
            model,
            args,
            path,
            kwargs=kwargs,
            dynamo=True,
            dynamic_shapes=batch_axes(model, example),
            external_data=False,
            optimize=True,
            verbose=False,
        )
        graph = onnx.load(path)
        _forget(graph)
        onnx.save(graph, path)

    def run(self, path: Path, example: Batch) -> Any:
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        inputs = zip(session.get_inputs(), tensors(example), strict=True)
        returned = session.run(None, {one.name: tensor.numpy() for one, tensor in inputs})
        return [torch.from_numpy(array) for array in returned]

    def usage(self, path: str) -> str:
        return (
            f"import onnxruntime\nsession = onnxruntime.InferenceSession({path!r})\n"
            "session.run(None, {session.get_inputs()[0].name: x.numpy()})"
        )


def _forget(message: Any) -> None:
    """Remove notes for debugging, which name files of this machine, from a part of an ONNX file and all in it."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in value if hasattr(value, "__len__") else (value,):
                _forget(part)
