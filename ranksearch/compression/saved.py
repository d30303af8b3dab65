"""Compressed models in folders, with their plan, and checksums by which a damaged file is known."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.files import whole_file, write_text
from ranksearch.networks import list_layers, load_weights
from ranksearch.planning import PlanRecord, check_plan, skeleton, to_plan, write_plan

WEIGHTS_FILE = "model.safetensors"
PLAN_FILE = "plan.json"
SUMS_FILE = "SHA256SUMS"
"""As `sha256sum` writes it, which checks it too: `sha256sum -c SHA256SUMS`."""

_AGAIN = "It was damaged or changed: resume the run, or carry out the plan again."

_RESERVED = "__metadata__"


def save_compressed(folder: Path, model: nn.Module, record: PlanRecord) -> None:
    """Write `model.safetensors`, `plan.json` and `SHA256SUMS`, each atomically, in this order.

    A tensor known under several names is stored once; the file's metadata maps its other names to the stored
    one, as `safetensors.torch.save_model` does. Raises InputError for a state that the format cannot store.
    """
    stored: dict[str, Tensor] = {}
    state = _tensors_of(model)
    # Where a tensor is called "pt" the customary entry would read as another name of it.
    metadata = {} if "pt" in state else {"format": "pt"}
    seen: dict[tuple[object, ...], str] = {}
    for name, tensor in state.items():
        key = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and key in seen:
            metadata[name] = seen[key]
        else:
            seen[key] = name
            stored[name] = tensor.detach().to("cpu", copy=True).contiguous()
    with whole_file(folder / WEIGHTS_FILE) as temporary:
        temporary.write_bytes(save(stored, metadata))
    save_plan(folder, record)


def save_plan(folder: Path, record: PlanRecord) -> None:
    """Write the plan of a compressed model, whose weights are there, and the checksums of both."""
    write_plan(folder / PLAN_FILE, record)
    sums = {name: _sha256(folder / name) for name in (WEIGHTS_FILE, PLAN_FILE)}
    write_text(folder / SUMS_FILE, "".join(f"{found}  {name}\n" for name, found in sums.items()))


def check_sums(folder: Path) -> None:
    """Raise MismatchError where a file of a compressed model is not as it was written, or there are no checksums."""
    path = folder / SUMS_FILE
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise MismatchError(expected(str(path), "checksums", "none that can be read", _AGAIN)) from error
    stated = {m[2]: m[1] for line in lines if (m := re.fullmatch(r"([0-9a-f]{64})  ([\w.-]+)", line))}
    for name in (WEIGHTS_FILE, PLAN_FILE):
        file = folder / name
        got = _sha256(file) if file.is_file() else "no file"
        if stated.get(name) != got:
            wanted = f"the file of {SUMS_FILE}, {stated.get(name, 'which does not name it')[:12]}…"
            raise MismatchError(
                expected(str(file), wanted, f"{got[:12]}…" if file.is_file() else got, _AGAIN)
            )


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """A model's state; what modules add to it as `extra_state` is left out."""
    state: dict[str, Any] = model.state_dict()
    others = [k for k, v in state.items() if not isinstance(v, Tensor) and not k.endswith("_extra_state")]
    if others:  # packed weights of quantised modules
        got, way_out = f"{others[0]}, a {type(state[others[0]]).__name__}", "Keep it by `torch.save`."
        raise InputError(expected("model", "a state of tensors alone, as safetensors stores", got, way_out))
    if _RESERVED in state:
        raise InputError(expected("model", "tensors of names that safetensors can store", _RESERVED))
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def load_compressed(folder: Path, record: PlanRecord, dense: nn.Module) -> nn.Module:
    """The compressed model in a folder, in evaluation mode; `record` is its plan.

    The weights of the dense model do not matter, and it is not changed. Raises MismatchError if the plan is for
    another model, or if a file does not match its checksum; folders of earlier versions have no checksums.
    """
    if (folder / SUMS_FILE).exists():
        check_sums(folder)
    layers = list_layers(dense)
    check_plan(record, layers, dense)
    compressed = skeleton(dense, layers, to_plan(record))
    load_weights(compressed, folder / WEIGHTS_FILE)
    return compressed.eval()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
