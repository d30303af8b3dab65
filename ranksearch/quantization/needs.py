"""What quantisation needs of this machine."""

from __future__ import annotations

from ranksearch.errors import InputError, expected, told
from ranksearch.exporting import Exporter, exporters

_NEEDED = ("CalibrationDataReader", "QDQQuantizer", "QuantType", "create_calibrator")


def check_quantizer() -> Exporter:
    """The exporter whose files are quantised. Raises InputError where onnxruntime lacks what quantisation needs."""
    (onnx,) = exporters(["onnx"])
    try:
        import onnxruntime.quantization as found
    except ImportError as error:
        raise InputError(expected("quantize", "the package onnxruntime.quantization", told(error))) from error
    missing = [name for name in _NEEDED if not hasattr(found, name)]
    if missing:
        wanted = f"an onnxruntime with {', '.join(_NEEDED)}"
        raise InputError(expected("quantize", wanted, f"no {', '.join(missing)}", onnx.install))
    return onnx
