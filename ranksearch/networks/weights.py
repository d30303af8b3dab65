"""Weights in files: state dicts, read without running any code in them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ranksearch.errors import InputError, MismatchError, expected, told

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
        got = "a folder" if path.is_dir() else "a pipe, a socket or a device" if path.exists() else "none"
        raise InputError(expected(f"weights {path}", "an existing file", got))
    if path.suffix == ".safetensors":
        weights = Weights(path, _read_safetensors(path))
    elif path.suffix in (".pt", ".pth"):
        weights = Weights(path, _read_pickled(path))
    else:
        raise InputError(
            expected(f"weights {path}", "a .safetensors, .pt or .pth file", path.suffix or path.name)
        )
    strange = [f"{name}: {form}" for name, tensor in weights.tensors.items() if (form := _form(tensor))]
    if strange:
        way_out = "Save them as plain tensors: to_dense() or dequantize()."
        raise InputError(expected(f"weights {path}", "dense tensors with values", _some(strange), way_out))
    return weights


def _form(tensor: Tensor) -> str:
    """What is odd about how a tensor is stored; "" where nothing is."""
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_meta:
        return "without values"
    return "" if tensor.layout == torch.strided else str(tensor.layout).removeprefix("torch.")


def load_weights(model: nn.Module, weights: Weights | str | Path) -> None:
    """Load a file into a model, in place, converted to its dtypes; all names and shapes have to agree.

    Raises MismatchError, and changes nothing, where they do not, and InputError where there is NaN or infinity.
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
    # Whole numbers are those of a quantised model, whose scales a plain one would not know.
    kinds = [
        f"{n} {str(tensors[n].dtype).removeprefix('torch.')} for {str(own[n].dtype).removeprefix('torch.')}"
        for n in own
        if n in tensors and _loses(tensors[n].dtype, own[n].dtype)
    ]
    troubles = {
        "missing": missing,
        "unexpected": unexpected,
        "of another shape": shapes,
        "of another kind": kinds,
    }
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
    converted = {n: tensor.to(own[n].dtype) for n, tensor in tensors.items() if n in own}
    check_finite(model, f"weights {weights.path}", converted)
    try:
        model.load_state_dict(converted, strict=False)
    except RuntimeError as error:  # a model of the user's own may load in a way of its own
        wanted = "weights that the model can load"
        raise MismatchError(expected(f"weights {weights.path}", wanted, told(error))) from error


def _loses(stored: torch.dtype, own: torch.dtype) -> bool:
    return (stored.is_complex and not own.is_complex) or (
        own.is_floating_point and not (stored.is_floating_point or stored.is_complex)
    )


def check_finite(model: nn.Module, what: str, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Raise InputError that names the first of a model's tensors, or of those that are to take their place, that has
    NaN, or infinity in a parameter; masks and the like are infinite on purpose."""
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, tensor in (model.state_dict() if tensors is None else tensors).items():
        if (
            not isinstance(tensor, Tensor)
            or is_lazy(tensor)
            or _form(tensor)
            or not tensor.is_floating_point()
        ):
            continue
        if tensor.dtype.itemsize == 1:
            tensor = tensor.float()  # which knows what NaN and infinity are
        bad = tensor.isnan()
        got = "NaN"
        if not bad.any() and name in parameters:
            bad, got = tensor.isinf(), "infinity"
        if count := int(bad.sum()):
            got = f"{got} in {name} ({count:,} of {tensor.numel():,} values)"
            raise InputError(expected(what, "finite numbers", got, "Did the training diverge?"))


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            aliases = file.metadata() or {}
    except Exception as error:  # on types that torch has not, or not whole, it raises what they run into
        raise InputError(expected(f"weights {path}", "a safetensors file", told(error))) from error
    return {name: tensors[kept] for name, kept in aliases.items() if kept in tensors} | tensors


def _read_pickled(path: Path) -> dict[str, Tensor]:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on bytes that are no pickle torch raises whatever its parser runs into
        named = re.search(r"GLOBAL (\S+)", str(error))
        got = named[1] if named else told(error).partition(". ")[0]
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
