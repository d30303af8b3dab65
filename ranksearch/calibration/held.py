"""Moments of many layers: in memory as far as there is room for them, the others in temporary files."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

from safetensors.torch import load_file, save_file
from torch import Tensor

from ranksearch.calibration.moments import WIDE, WIDE_OUTPUTS, Moments
from ranksearch.calibration.patches import COLUMNS
from ranksearch.calibration.roots import Columns
from ranksearch.networks import Layer

ROOM = 2 * 2**30
"""Bytes of moments that are in memory at once. Those of a large network take several times its weights."""


def moments_bytes(layer: Layer) -> int:
    """About what the moments of a layer take."""
    own, wide = layer.group, layer.groups == 1
    inputs = 8 * own.fan_in if own.traits.lookup else _square(own.fan_in, own.fan_in > WIDE and wide)
    return layer.groups * (inputs + _square(own.out_channels, own.out_channels > WIDE_OUTPUTS and wide))


def _square(size: int, columns: bool) -> int:
    return 4 * size * COLUMNS if columns else 8 * size**2


def roomfuls(layers: Sequence[Layer], room: int | None = None) -> list[list[Layer]]:
    """The layers in their order, in groups whose moments fit into memory at once; a group has at least one."""
    room = ROOM if room is None else room
    found: list[list[Layer]] = []
    size = 0
    for layer in layers:
        own = moments_bytes(layer)
        if not found or size + own > room:
            found.append([])
            size = 0
        found[-1].append(layer)
        size += own
    return found


@dataclass(eq=False)
class HeldMoments(Mapping[str, Moments]):
    """The moments of layers by name. Those for which there is no room are written to a folder that goes away with this,
    and read each time that they are asked for."""

    room: int = field(default_factory=lambda: ROOM)
    _known: dict[str, Moments] = field(default_factory=dict)
    _files: dict[str, tuple[Path, Any]] = field(default_factory=dict)
    _folder: Path | None = None
    _taken: int = 0

    def put(self, name: str, moments: Moments) -> None:
        """Keep the moments of a layer, in place of earlier ones. Raises OSError where there is no room for them."""
        self.drop(name)
        if self._taken + _nbytes(moments) <= self.room:
            self._known[name] = moments
            self._taken += _nbytes(moments)
            return
        if self._folder is None:
            self._folder = Path(mkdtemp(prefix="ranksearch-moments-"))
            finalize(self, rmtree, self._folder, ignore_errors=True)
        path = self._folder / f"{secrets.token_hex(8)}.safetensors"
        tensors, plain = written(moments)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
        self._files[name] = path, (plain, next(iter(tensors.values())).device)

    def drop(self, name: str) -> None:
        """Free what the moments of a layer take, if there are any."""
        if name in self._known:
            self._taken -= _nbytes(self._known.pop(name))
        if name in self._files:
            self._files.pop(name)[0].unlink(missing_ok=True)

    def __getitem__(self, name: str) -> Moments:
        if name in self._known:
            return self._known[name]
        path, (plain, device) = self._files[name]
        return read((load_file(path, device=str(device)), plain))

    def __iter__(self) -> Iterator[str]:
        return iter((*self._known, *self._files))

    def __len__(self) -> int:
        return len(self._known) + len(self._files)


def _nbytes(moments: Moments) -> int:
    return sum(m.X.nbytes if isinstance(m, Columns) else m.nbytes for m in (moments.A, moments.G))


def written(moments: Moments) -> tuple[dict[str, Tensor], Any]:
    """Moments as tensors, and what else is to be known of them."""
    both = {"A": moments.A, "G": moments.G}
    tensors = {name: m.X if isinstance(m, Columns) else m for name, m in both.items()}
    wide = [name for name, m in both.items() if isinstance(m, Columns)]
    return tensors, {"wide": wide, "samples": moments.samples, "patches": moments.patches}


def read(entry: tuple[Mapping[str, Tensor], Any]) -> Moments:
    """The moments that `written` has written."""
    tensors, plain = entry
    A, G = (Columns(tensors[name], 0.0) if name in plain["wide"] else tensors[name] for name in ("A", "G"))
    return Moments(A, G, plain["samples"], plain["patches"])
