"""An ONNX file called as the model that it was made of, so that it is evaluated like one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from ranksearch.networks import refilled, tensors


class OnnxModule(nn.Module):
    """Runs a file in onnxruntime on the CPU.

    returned: what the model returns for some batch; the file's outputs take the places of its tensors.
    """

    def __init__(self, path: Path, returned: Any, threads: int) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._names = [one.name for one in self._session.get_inputs()]
        self._returned = returned

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model returns, on the inputs' device."""
        given = tensors((args, kwargs))
        arrays = [tensor.detach().cpu().numpy() for tensor in given]
        found = self._session.run(None, dict(zip(self._names, arrays, strict=True)))
        return refilled(self._returned, [torch.from_numpy(array).to(given[0].device) for array in found])
