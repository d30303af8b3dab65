"""Compressed models in folders, with their plan, and checksums by which a damaged file is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from ranksearch.checksums import SUMS_FILE, check_sum, read_sums, write_sums
from ranksearch.errors import InputError, expected
from ranksearch.files import whole_file
from ranksearch.networks import check_plain, copy_model, list_layers, load_weights
from ranksearch.planning import PlanRecord, check_plan, skeleton, to_plan, write_plan
from ranksearch.rewriting import plain_form

WEIGHTS_FILE = "model.safetensors"
PLAN_FILE = "plan.json"

_AGAIN = "It was damaged or changed: resume the run, or carry out the plan again."
_EXPORT_AGAIN = "It was damaged or changed: export the model again."

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
    _save_plan(folder, record, keep=False)


def save_plan(folder: Path, record: PlanRecord) -> None:
    """Write the plan of a compressed model, whose weights are there, and the checksums of both; those of exported
    files stay."""
    _save_plan(folder, record, keep=True)


def _save_plan(folder: Path, record: PlanRecord, *, keep: bool) -> None:
    write_plan(folder / PLAN_FILE, record)
    write_sums(folder, (WEIGHTS_FILE, PLAN_FILE), keep=keep)


def check_sums(folder: Path, *, every: bool = False) -> None:
    """Raise MismatchError where a file of a compressed model is not as it was written, or there are no checksums.

    every: whether exported files, and whatever else has a checksum, are checked too.
    """
    stated = read_sums(folder, _AGAIN)
    for name in (WEIGHTS_FILE, PLAN_FILE):
        check_sum(folder, name, stated.get(name), _AGAIN)
    for name in stated if every else ():
        check_sum(folder, name, stated[name], _EXPORT_AGAIN)


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
    check_plain(dense)
    dense = plain_form(copy_model(dense))
    layers = list_layers(dense)
    check_plan(record, layers, dense)
    compressed = skeleton(dense, layers, to_plan(record))
    load_weights(compressed, folder / WEIGHTS_FILE)
    return compressed.eval()
