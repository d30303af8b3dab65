"""Files of weights, and what training code keeps beside them: read as tensors by name, without running any code.

A pickle may refer to classes and functions of any package. None of them is imported: something empty takes the place
of what they would have made, so that hyper-parameters, schedulers and the like do not keep weights from being read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from ranksearch.errors import InputError, expected, told
from ranksearch.reading import RECORD_BYTES, parse_json, read_text

Entries = Mapping[str, Mapping[str, Tensor]]
"""By where they stand in a file ("" for its top, `ema.shadow` for what is further down), tensors by name."""

_FOLDER_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""What Hugging Face libraries call the weights in a folder."""

_NO_WEIGHTS = ("optim", "lr_sched", "sched", "scaler", "grad_scaler")
"""Beginnings of the names of entries that hold the state of a training."""

_DEPTH = 3


def read_entries(path: Path) -> Entries:
    """All tensors by name that a file holds, a folder, or the shards that an index lists. Raises InputError."""
    if path.is_dir():
        path = _in_folder(path)
    if not path.is_file():
        raise InputError(
            expected(
                f"weights {path}",
                "an existing file",
                "a pipe, a socket or a device" if path.exists() else "none",
            )
        )
    if path.name.endswith(".index.json"):
        return {"": _sharded(path)}
    if _is_safetensors(path):
        return {"": _read_safetensors(path)}
    return dict(_found(_read_pickled(path), path))


def stored_beside(path: Path, name: str) -> Any:
    """What a checkpoint of torch.save keeps under a name beside its weights, such as `hyper_parameters`; None where it
    keeps nothing there. Objects of other people's classes are empty. Raises InputError."""
    if not path.is_file():
        raise InputError(expected(f"weights {path}", "an existing file", "none"))
    content = None if _is_safetensors(path) else _read_pickled(path)
    return content.get(name) if isinstance(content, Mapping) else None


# --- what a path stands for


def _in_folder(folder: Path) -> Path:
    for name in _FOLDER_FILES:
        if (folder / name).is_file():
            return folder / name
    others = sorted(
        p for p in folder.iterdir() if p.name.endswith((".index.json", ".safetensors", ".bin", ".pt", ".pth"))
    )
    indices = [p for p in others if p.name.endswith(".index.json")]
    if len(found := indices or others) == 1:
        return found[0]
    wanted = f"a folder with one file of weights, such as {_FOLDER_FILES[0]}"
    got = ", ".join(p.name for p in found[:5]) or "none"
    raise InputError(expected(f"weights {folder}", wanted, got, "Name the file." if found else ""))


def _sharded(index: Path) -> dict[str, Tensor]:
    """The tensors of all shards that an index lists, which lie beside it."""
    wanted = "an index of shards, with a weight_map from tensors to files beside it"
    try:
        content = parse_json(read_text(index, RECORD_BYTES))
    except (OSError, ValueError) as error:
        raise InputError(expected(f"weights {index}", wanted, told(error))) from error
    where = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(where, dict) or not where or not all(isinstance(v, str) for v in where.values()):
        raise InputError(expected(f"weights {index}", wanted, "none"))
    tensors: dict[str, Tensor] = {}
    for name in dict.fromkeys(where.values()):
        if not name or Path(name).name != name or "\\" in name:
            raise InputError(expected(f"weights {index}", "shards that lie beside it", repr(name)))
        if not (shard := index.parent / name).is_file():
            raise InputError(expected(f"weights {index}", "all its shards", f"no {name}"))
        tensors |= next(iter(read_entries(shard).values()), {})
    if lacking := [name for name in where if name not in tensors]:
        got = f"none for {len(lacking)} ({some(lacking)})"
        raise InputError(expected(f"weights {index}", "shards that hold all its tensors", got))
    return tensors


def _is_safetensors(path: Path) -> bool:
    """By its first bytes: the length of a header in JSON."""
    if path.suffix == ".safetensors":
        return True
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            aliases = file.metadata() or {}
    except Exception as error:  # on types that torch has not, or not whole, it raises what they run into
        raise InputError(expected(f"weights {path}", "a safetensors file", told(error))) from error
    return {name: tensors[kept] for name, kept in aliases.items() if kept in tensors} | tensors


# --- pickles


class _Nothing:
    """Takes the place of an object whose class is not imported."""

    def __new__(cls, *args: object, **kwargs: object) -> _Nothing:
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def _no_items(*args: object) -> dict[Any, Any]:
    return {}


def _in_place_of(name: str) -> Callable[..., Any]:
    """What stands for a class or function of this name in a pickle."""
    return _no_items if name == "collections.defaultdict" else type(name, (_Nothing,), {})


def _read_pickled(path: Path) -> Any:
    unknown: list[str] = []
    with suppress(
        Exception
    ):  # files that are no zip archives, as torch wrote before 1.6, are read without this
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    try:
        with torch.serialization.safe_globals([(_in_place_of(name), name) for name in unknown]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on bytes that are no pickle torch raises whatever its parser runs into
        wanted = "a safetensors file, or one of torch.save that is read with weights_only=True"
        if "TorchScript" in str(error):
            raise InputError(
                expected(
                    f"weights {path}", wanted, "a scripted model", _conversion(path, "torch.jit.load", "")
                )
            ) from error
        named = re.search(r"GLOBAL (\S+)", str(error))
        got = named[1] if named else told(error).partition(". ")[0]
        way_out = "Save the state dict alone: torch.save(model.state_dict(), …)."
        raise InputError(expected(f"weights {path}", wanted, got, way_out)) from error


def _conversion(path: Path, load: str, entry: str) -> str:
    """Two lines of Python that make a file of weights of one that holds a whole model."""
    arguments = f"{str(path)!r}" + ("" if load == "torch.jit.load" else ", weights_only=False")
    model = "model" + (f"[{entry!r}]" if entry else "")
    saved = str(path.with_name(f"{path.stem}_weights.pt"))
    return (
        f"Where its code can be imported, and if you trust the file: model = {load}({arguments}); "
        f"torch.save({model}.state_dict(), {saved!r})."
    )


def _found(content: Any, path: Path) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    """The entries of what a pickle holds. Raises InputError where there is none, and says what there is."""
    entries = list(_entries(content, "", 0))
    if entries:
        yield from entries
        return
    what = f"weights {path}"
    parts = content.items() if isinstance(content, Mapping) else [("", content)]
    for entry, value in parts:
        if isinstance(value, _Nothing) and (not entry or entry in KNOWN or entry in ("ema", "model_ema")):
            got = f"a whole pickled model ({type(value).__name__}){f' under {entry}' if entry else ''}"
            raise InputError(expected(what, "a state dict", got, _conversion(path, "torch.load", entry)))
    if not isinstance(content, Mapping):
        raise InputError(expected(what, "a state dict", type(content).__name__))
    raise InputError(expected(what, "tensors by name", f"other values ({some(list(map(str, content)))})"))


def _entries(content: Any, name: str, depth: int) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    if not isinstance(content, Mapping) or depth > _DEPTH:
        return
    tensors = {key: v for key, v in content.items() if isinstance(key, str) and isinstance(v, Tensor)}
    if tensors:
        yield name, tensors
    for key, value in content.items():
        if isinstance(key, str) and not key.lower().startswith(_NO_WEIGHTS):
            yield from _entries(value, f"{name}.{key}".lstrip("."), depth + 1)


KNOWN = ("", "state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module")
"""Names under which training code keeps the weights, the usual ones first."""

_AVERAGED = re.compile(r"ema|swa|averag|shadow", re.IGNORECASE)


def usual_first(name: str) -> tuple[bool, int]:
    """Orders the names of entries, and prefixes: those of weights that training averages come last."""
    last = name.rstrip(".").rpartition(".")[2]
    return bool(_AVERAGED.search(name)), KNOWN.index(last) if last in KNOWN else len(KNOWN)


def some(names: list[str], shown: int = 3) -> str:
    """`a, b, c, …`."""
    return ", ".join(names[:shown]) + (", …" if len(names) > shown else "")
