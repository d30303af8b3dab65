"""Cells: one method at one budget, its record on disk, written whole or not at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksearch.costs import Metric
from ranksearch.errors import InputError, expected
from ranksearch.files import write_text

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """`variant` is `published` (the method's own decomposition and error) or `ours` (this project's candidates)."""

    method: str
    variant: str
    budget: float
    metric: Metric
    seed: int

    @property
    def row(self) -> tuple[str, str]:
        return self.method, self.variant

    @property
    def name(self) -> str:
        return f"{self.method}-{self.variant}-{self.metric}-{self.budget:g}-seed{self.seed}"


class Store:
    """Records in a folder, one JSON file each; `setup` must be that of the records already there."""

    def __init__(self, folder: Path, setup: Record) -> None:
        self.folder = folder
        path = folder / "setup.json"
        wanted = json.loads(json.dumps(setup))
        if path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))
            for key in sorted({*known, *wanted}):
                if known.get(key) != wanted.get(key):
                    what, way_out = f"{key} of {folder}", "Choose another --out."
                    raise InputError(expected(what, repr(known.get(key)), repr(wanted.get(key)), way_out))
        else:
            write_text(path, json.dumps(wanted, indent=1) + "\n")

    def read(self, kind: str, name: str) -> Record | None:
        """The record of that name, None where it is not there yet."""
        path = self._path(kind, name)
        if not path.is_file():
            return None
        found: Record = json.loads(path.read_text(encoding="utf-8"))
        return found

    def write(self, kind: str, name: str, record: Record) -> None:
        write_text(self._path(kind, name), json.dumps(record, indent=1, ensure_ascii=False) + "\n")

    def every(self, kind: str, names: Iterable[str]) -> list[Record]:
        """The records that are there, in the order of the names."""
        return [record for name in names if (record := self.read(kind, name)) is not None]

    def _path(self, kind: str, name: str) -> Path:
        return self.folder / kind / f"{name}.json"


def described(cell: Cell) -> dict[str, Any]:
    """A cell's own part of its record."""
    return asdict(cell)


def pack(correct: NDArray[np.bool_]) -> dict[str, Any]:
    """One bit per test image, base64."""
    return {"count": len(correct), "bits": base64.b64encode(np.packbits(correct).tobytes()).decode()}


def unpack(packed: Record) -> NDArray[np.bool_]:
    """The inverse of `pack`."""
    bits = np.frombuffer(base64.b64decode(packed["bits"]), dtype=np.uint8)
    return np.unpackbits(bits, count=packed["count"]).astype(bool)
