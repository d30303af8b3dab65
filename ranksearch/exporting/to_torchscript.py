"""`torchscript`: a trace, for programs that load nothing else. PyTorch has deprecated the format."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ranksearch.exporting.base import Exporter
from ranksearch.networks import Batch, arguments, call


class TorchScript(Exporter):
    """A trace of the model in one file."""

    name = "torchscript"
    file = "model.torchscript"

    def export(self, model: nn.Module, example: Batch, path: Path) -> None:
        args, kwargs = arguments(example)
        inputs = {"example_kwarg_inputs": kwargs} if kwargs else {"example_inputs": args}
        with _deprecated(), torch.no_grad():
            traced = torch.jit.trace(model, **inputs, check_trace=False, strict=False)
            whole = path.with_name(f"{path.name}.whole")
            torch.jit.save(traced, whole)
        _without_traces(whole, path)
        whole.unlink()

    def run(self, path: Path, example: Batch) -> Any:
        with _deprecated():
            return call(torch.jit.load(path), example)

    def usage(self, path: str) -> str:
        return f"import torch\ntorch.jit.load({path!r})(x)"


@contextmanager
def _deprecated() -> Iterator[None]:
    """Without warnings that the format is deprecated: who asks for it knows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`?torch\.jit")
        yield


def _without_traces(whole: Path, path: Path) -> None:
    """The archive without what nobody needs to run it: names of this machine's files, and the inputs of the trace."""
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl") and "/traced_inputs" not in entry.filename:
                target.writestr(entry, source.read(entry))
