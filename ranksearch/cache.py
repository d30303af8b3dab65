"""What calibration yields, kept on disk under a digest of all that it depends on.

One safetensors file an entry, its plain values as JSON in the header. Entries are read back as they were written, or
not at all where they do not match their digest, so that a run gives the same plan with the cache and without. Old
entries go when the folder grows beyond a limit.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ranksearch.files import remove_temporary, whole_file

log = logging.getLogger(__name__)

FORMAT = 4
"""Part of every key: raised when what is computed, or how it is written, changes."""

_LIMIT = 10 * 2**30

_ABANDONED = 3600.0
"""Seconds after which nobody writes a half-written entry to its end."""

_KEY = re.compile("[0-9a-f]{32}")

Entry = tuple[dict[str, Tensor], Any]
"""Tensors by name, and plain values that JSON knows."""


def cache_dir() -> Path:
    """`$XDG_CACHE_HOME/ranksearch`, by default `~/.cache/ranksearch`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "ranksearch"


def digest(*parts: object) -> str:
    """SHA-256 of tensors, trees of tensors (mappings, tuples, lists), and whatever has a faithful repr; 32 hexadecimal
    digits."""
    found = hashlib.sha256()
    for part in parts:
        _feed(found, part)
    return found.hexdigest()[:32]


def _feed(found: Any, part: object) -> None:
    if isinstance(part, Tensor):
        tensor = part.detach().cpu().contiguous()
        found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy())
    elif isinstance(part, Mapping):
        for key, value in part.items():
            found.update(repr(key).encode())
            _feed(found, value)
    elif isinstance(part, tuple | list) and _has_tensors(part):
        for value in part:
            _feed(found, value)
    else:
        found.update(repr(part).encode())
    found.update(b"\0")


def _has_tensors(part: object) -> bool:
    """Whether there are tensors anywhere in a tree; their repr leaves out most of what they hold."""
    if isinstance(part, Mapping):
        return any(map(_has_tensors, part.values()))
    return isinstance(part, Tensor) or (isinstance(part, tuple | list) and any(map(_has_tensors, part)))


@dataclass(frozen=True)
class Cache:
    """Entries in a folder; None keeps nothing."""

    folder: Path | None = None

    def get(self, key: str) -> Entry | None:
        """The entry of that key, if there is a sound one."""
        if self.folder is None or not (path := self.path(key)).is_file():
            return None
        try:
            entry = _read(path)
            os.utime(path)
        except _UNUSABLE as error:
            log.warning("cached %s cannot be used (%s): computing it again", path, error)
            return None
        return entry

    def put(self, key: str, tensors: Mapping[str, Tensor], plain: object) -> None:
        """Keep an entry; where the folder cannot be written to, a warning."""
        if self.folder is None:
            return
        try:
            _write(self.path(key), tensors, plain)
            remove_temporary(self.folder, deep=False, age=_ABANDONED)
            self._prune()
        except (OSError, SafetensorError) as error:
            log.warning("cannot cache anything in %s: %s", self.folder, error)

    def path(self, key: str) -> Path:
        """Where the entry of a key is, or would be."""
        assert self.folder is not None
        return self.folder / f"{key}.safetensors"

    def _prune(self) -> None:
        assert self.folder is not None
        found = sorted(
            ((stat.st_mtime, stat.st_size, path) for path, stat in _stats(self.folder)), reverse=True
        )
        size = 0
        for _, own, path in found:
            size += own
            if size > _LIMIT:
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Caches:
    """Several caches as one: what the first of them that has a key holds, the others get too."""

    caches: tuple[Cache, ...]

    @classmethod
    def of(cls, *folders: Path | None) -> Caches:
        """Those of some folders; None stands for none."""
        return cls(tuple(Cache(folder) for folder in dict.fromkeys(folders) if folder is not None))

    def get(self, key: str) -> Entry | None:
        """The entry of that key, if there is a sound one anywhere."""
        found = {cache: cache.get(key) for cache in self.caches}
        entry = next((entry for entry in found.values() if entry is not None), None)
        for cache, own in found.items():
            if own is None and entry is not None:
                cache.put(key, *entry)
        return entry

    def put(self, key: str, tensors: Mapping[str, Tensor], plain: object) -> None:
        """Keep an entry in all of them."""
        for cache in self.caches:
            cache.put(key, tensors, plain)


def examine(folder: Path) -> tuple[int, list[Path]]:
    """How many entries there are in a folder, and those that are not as they were written.

    One is written and read back first. Raises OSError where that cannot be done.
    """
    path = folder / f"{secrets.token_hex(16)}.safetensors"
    try:
        _write(path, {"x": torch.arange(3)}, "written and removed by a check")
        _read(path)
    except _UNUSABLE as error:
        raise error if isinstance(error, OSError) else OSError(f"{folder}: {error}") from error
    finally:
        with suppress(OSError):
            path.unlink(missing_ok=True)
    entries = [entry for entry, _ in _stats(folder)]
    return len(entries), [entry for entry in entries if not _is_sound(entry)]


def _is_sound(path: Path) -> bool:
    try:
        _read(path)
    except FileNotFoundError:  # another process has removed it
        return True
    except _UNUSABLE:
        return False
    return True


_UNUSABLE = (SafetensorError, OSError, KeyError, ValueError)


def _read(path: Path) -> Entry:
    """An entry as it was written; raises one of _UNUSABLE where it cannot be, or is not."""
    with safe_open(path, framework="pt") as file:
        stated = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
    if stated["digest"] != digest(tensors, stated["plain"]):
        raise ValueError("it does not match its digest")
    return tensors, json.loads(stated["plain"])


def _write(path: Path, tensors: Mapping[str, Tensor], plain: object) -> None:
    with whole_file(path) as temporary:
        own = {name: tensors[name].cpu().contiguous() for name in sorted(tensors)}
        text = json.dumps(plain)
        save_file(own, temporary, {"plain": text, "digest": digest(own, text)})


def _stats(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in folder.glob("*.safetensors"):
        if not _KEY.fullmatch(path.stem):  # somebody else's
            continue
        try:
            found.append((path, path.stat()))
        except OSError:  # another process was faster
            continue
    return found
