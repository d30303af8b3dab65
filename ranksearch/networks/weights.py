"""Weights in files: state dicts, read without running any code in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ranksearch.errors import InputError, MismatchError, expected

_SHOWN = 3


@dataclass(frozen=True)
class Weights:
    """The tensors of a weights file by name, as they stand in it, on the CPU; `path` is where they are from."""

    path: Path
    tensors: Mapping[str, Tensor]

    def named_for(self, names: Collection[str] = ()) -> Mapping[str, Tensor]:
        """The tensors without the prefixes that DataParallel (`module.`) and torch.compile (`_orig_mod.`) put before
        all names, unless some with it are among the `names` that are looked for."""
        tensors = self.tensors
        for prefix in ("module.", "_orig_mod."):
            if tensors and all(name.startswith(prefix) and name not in names for name in tensors):
                tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        return tensors


def read_weights(path: str | Path) -> Weights:
    """The tensors of a `.safetensors`, `.pt` or `.pth` file; no code in it is run.

    Of a checkpoint the entry `state_dict`, `model_state_dict` or `model` is taken.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            expected(f"weights {path}", "an existing file", "a folder" if path.is_dir() else "none")
        )
    if path.suffix == ".safetensors":
        return Weights(path, _read_safetensors(path))
    if path.suffix in (".pt", ".pth"):
        return Weights(path, _read_pickled(path))
    raise InputError(
        expected(f"weights {path}", "a .safetensors, .pt or .pth file", path.suffix or path.name)
    )


def load_weights(model: nn.Module, weights: Weights | str | Path) -> None:
    """Load a file into a model, in place, converted to its dtypes; all names and shapes have to agree.

    Raises MismatchError, and changes nothing, where they do not.
    """
    weights = weights if isinstance(weights, Weights) else read_weights(weights)
    own = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    tensors = weights.named_for(own)
    # torch itself makes up for the counter, which checkpoints older than torch 0.4.1 lack
    missing = [n for n in own if n not in tensors and not n.endswith("num_batches_tracked")]
    unexpected = [n for n in tensors if n not in own]
    shapes = [
        f"{n} {tuple(tensors[n].shape)} for {tuple(own[n].shape)}"
        for n in own
        if n in tensors and tensors[n].shape != own[n].shape
    ]
    troubles = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if any(troubles.values()):
        got = "; ".join(f"{len(found)} {what} ({_some(found)})" for what, found in troubles.items() if found)
        raise MismatchError(
            expected(
                f"weights {weights.path}",
                "the model's own names and shapes",
                got,
                "Are they for another model?",
            )
        )
    model.load_state_dict(tensors, strict=False)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            aliases = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(expected(f"weights {path}", "a safetensors file", str(error))) from error
    return tensors | {name: tensors[kept] for name, kept in aliases.items() if kept in tensors}


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on bytes that are no pickle torch raises whatever its parser runs into
        got = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".rstrip(": ")
        way_out = "Save the state dict alone: torch.save(model.state_dict(), …)."
        raise InputError(
            expected(f"weights {path}", "tensors and plain values only (weights_only=True)", got, way_out)
        ) from error
    for entry in ("state_dict", "model_state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(entry), Mapping):
            content = content[entry]
            break
    if not isinstance(content, Mapping):
        raise InputError(expected(f"weights {path}", "a state dict", type(content).__name__))
    strange = [str(key) for key, value in content.items() if not isinstance(value, Tensor)]
    if strange:
        way_out = "A checkpoint's state dict is looked for under state_dict, model_state_dict and model."
        raise InputError(
            expected(f"weights {path}", "tensors by name", f"other values ({_some(strange)})", way_out)
        )
    return {str(key): value for key, value in content.items()}


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", …" if len(names) > _SHOWN else "")
