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

from ranksearch.errors import InputError, expected
from ranksearch.files import write_text

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """`variant` is `published` (the method's own decomposition and error) or `ours` (this project's candidates)."""

    method: str
    variant: str
    budget: float
    metric: str
    seed: int

    @property
    def row(self) -> tuple[str, str]:
        return self.method, self.variant

    @property
    def name(self) -> str:
        return f"{self.method}-{self.variant}-{self.metric}-{self.budget:g}-seed{self.seed}"


class Store:
    """Records in a folder, a file for each kind, a line for each record; `setup` must be that of those already there.

    The file of a kind is replaced whole, so that a run that is killed loses no more than the record it was at.
    """

    def __init__(self, folder: Path, setup: Record) -> None:
        self.folder = folder
        self._known: dict[str, dict[str, Record]] = {}
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
        return self._of(kind).get(name)

    def write(self, kind: str, name: str, record: Record) -> None:
        known = self._of(kind)
        known[name] = json.loads(json.dumps(record))
        lines = (json.dumps([name, known[name]], ensure_ascii=False) for name in sorted(known))
        write_text(self.path(kind), "".join(f"{line}\n" for line in lines))

    def every(self, kind: str, names: Iterable[str]) -> list[Record]:
        """The records that are there, in the order of the names."""
        return [record for name in names if (record := self.read(kind, name)) is not None]

    def path(self, kind: str) -> Path:
        """The file of a kind."""
        return self.folder / f"{kind}.jsonl"

    def _of(self, kind: str) -> dict[str, Record]:
        if kind not in self._known:
            path = self.path(kind)
            lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
            self._known[kind] = dict(json.loads(line) for line in lines)
        return self._known[kind]


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
