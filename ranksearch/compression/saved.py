"""Compressed models in folders, with their plan, and checksums by which a damaged file is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save
from torch import nn

from ranksearch.checksums import SUMS_FILE, check_sum, read_sums, write_sums
from ranksearch.files import whole_file
from ranksearch.folders import PLAN_FILE
from ranksearch.networks import check_plain, copy_model, list_layers, load_weights, stored_tensors
from ranksearch.planning import PlanRecord, check_plan, skeleton, to_plan, write_plan
from ranksearch.rewriting import plain_form
from ranksearch.tasks.sources import write_architecture

WEIGHTS_FILE = "model.safetensors"

_AGAIN = "It was damaged or changed: resume the run, or carry out the plan again."
_EXPORT_AGAIN = "It was damaged or changed: export the model again."


def save_compressed(folder: Path, model: nn.Module, record: PlanRecord) -> None:
    """Write `model.safetensors`, `plan.json` and `SHA256SUMS`, each atomically, in this order; before the sums, for a
    model of transformers, also what the dense one is made from.

    A tensor known under several names is stored once; the file's metadata maps its other names to the stored
    one, as `safetensors.torch.save_model` does. Raises InputError for a state that the format cannot store.
    """
    stored = stored_tensors(model)
    # Where a tensor is called "pt" the customary entry would read as another name of it.
    named_pt = "pt" in stored.tensors or "pt" in stored.aliases
    metadata = dict(stored.aliases) if named_pt else {"format": "pt", **stored.aliases}
    tensors = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in stored.tensors.items()}
    with whole_file(folder / WEIGHTS_FILE) as temporary:
        temporary.write_bytes(save(tensors, metadata))
    others = write_architecture(folder, model, record.model.name)
    _save_plan(folder, record, others, keep=False)


def save_plan(folder: Path, record: PlanRecord) -> None:
    """Write the plan of a compressed model, whose weights are there, and the checksums of both; those of exported
    files stay."""
    _save_plan(folder, record, keep=True)


def _save_plan(folder: Path, record: PlanRecord, others: Sequence[str] = (), *, keep: bool) -> None:
    write_plan(folder / PLAN_FILE, record)
    write_sums(folder, (WEIGHTS_FILE, PLAN_FILE, *others), keep=keep)


def check_sums(folder: Path, *, every: bool = False) -> None:
    """Raise MismatchError where a file of a compressed model is not as it was written, or there are no checksums.

    every: whether exported files, and whatever else has a checksum, are checked too.
    """
    stated = read_sums(folder, _AGAIN)
    for name in (WEIGHTS_FILE, PLAN_FILE):
        check_sum(folder, name, stated.get(name), _AGAIN)
    for name in stated if every else ():
        check_sum(folder, name, stated[name], _EXPORT_AGAIN)


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
