"""The time of one ONNX file over another's."""

from __future__ import annotations

from pathlib import Path

from ranksearch.networks import Batch, tensors, to
from ranksearch.timing.measure import compare
from ranksearch.timing.onnx import OnnxSession
from ranksearch.timing.timer import TURNS, Ratio


def file_ratio(path: Path, reference: Path, batch: Batch, threads: int) -> Ratio:
    """The time of a file over that of a reference that takes the same inputs, measured in turns in onnxruntime."""
    arrays = [tensor.detach().numpy() for tensor in tensors(to(batch, "cpu"))]
    one, other = (OnnxSession(file.read_bytes(), {}, arrays, threads) for file in (reference, path))
    return Ratio.of(compare(one, other, TURNS))
