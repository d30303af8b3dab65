"""The exporters, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec

from ranksearch.errors import InputError, expected
from ranksearch.exporting.base import Exporter
from ranksearch.files import FILE_NAME
from ranksearch.registry import Registry

EXPORTERS: Registry[Exporter] = Registry(
    "export", "ranksearch.exporters", lambda thing: isinstance(thing, Exporter), "an Exporter"
)

_HERE = "ranksearch.exporting"
EXPORTERS.offer("onnx", f"{_HERE}.to_onnx:ONNX", "model.onnx, for ONNX Runtime and others")
EXPORTERS.offer("pt2", f"{_HERE}.to_pt2:PT2", "model.pt2, for torch.export.load")
EXPORTERS.offer("torchscript", f"{_HERE}.to_torchscript:TorchScript", "model.torchscript, for torch.jit.load")

_OURS = frozenset(
    {
        *("model.safetensors", "plan.json", "exports.json", "model.int8.onnx"),
        *("SHA256SUMS", "README.md", "log.txt"),
    }
)


def exporters(specs: Iterable[str]) -> tuple[Exporter, ...]:
    """The exporters of these names, or of `file.py:OBJECT`, each once.

    Raises InputError where a package that one of them needs is missing, or where it would write over other files.
    """
    found = tuple(dict.fromkeys(EXPORTERS.resolve(spec) for spec in specs))
    for exporter in found:
        missing = [name for name in exporter.packages if find_spec(name) is None]
        if missing:
            wanted = f"the packages {', '.join(exporter.packages)}"
            raise InputError(
                expected(f"export {exporter.name}", wanted, f"no {', '.join(missing)}", exporter.install)
            )
        if exporter.file in _OURS or not re.fullmatch(FILE_NAME, exporter.file):
            wanted = "the name of a file of its own"
            raise InputError(expected(f"export {exporter.name}, file", wanted, repr(exporter.file)))
    return found
