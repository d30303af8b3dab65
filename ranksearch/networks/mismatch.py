"""Why the names or shapes in a file of weights are not a model's: the likely cause, with the way out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

_TELLING = (
    (r"(^|\.)(lora_[AB]|lora_embedding_[AB])(\.|$)", "It holds LoRA adapters: merge them into the model."),
    (r"weight_(orig|mask)$", "It was pruned by torch.nn.utils.prune: call prune.remove before saving."),
    (
        r"parametrizations\.|\.weight_[gv]$",
        "It has weight or spectral norm: remove it before saving, or apply it to the model.",
    ),
    (r"(_packed_params|zero_point|\.qweight|\.qzeros|absmax)", "It is quantised: use the weights in floating point."),
)  # fmt: skip
"""Parts of names that are in a file and not in the model, and what they tell."""


def likely_cause(
    path: Path,
    tensors: Mapping[str, Tensor],
    own: Mapping[str, Tensor],
    missing: Sequence[str],
    unexpected: Sequence[str],
    misshapen: Sequence[str],
) -> str:
    """A sentence or two; names are those after a prefix was taken off."""
    for pattern, cause in _TELLING:
        if any(re.search(pattern, name) for name in unexpected):
            return cause
    if re.search(r"-\d{5}-of-\d{5}", path.name):
        return "It is one of several shards: name the folder, or the .index.json beside it."
    stems = {name.rpartition(".")[0] for name in missing}
    if stems and any(
        re.fullmatch(rf"{re.escape(stem)}\.\d+\.weight", n) for stem in stems for n in unexpected
    ):
        return "It holds a compressed model: `ranksearch.load` reads its folder."
    if missing and not unexpected and all(re.search(r"running_(mean|var)$", name) for name in missing):
        return "It was saved without buffers, as model.parameters() gives: save model.state_dict()."
    if misshapen and not missing and not unexpected and (classes := _classes(tensors, own, misshapen)):
        return (
            f"It is for {classes[0]} classes, the model has {classes[1]}: set `num_classes`, or use its own."
        )
    if not set(own) & set(tensors):
        return f"No name is the same: the file has {_like(tensors)}, the model {_like(own)}."
    if missing and not unexpected and not misshapen:
        return f"It lacks a part that the model has ({_parts(missing)}): is it a backbone without its head?"
    if unexpected and not missing and not misshapen:
        return f"It has a part that the model lacks ({_parts(unexpected)}): was the model made without an option?"
    return "Are they for another model?"


def _classes(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], misshapen: Sequence[str]
) -> tuple[int, int] | None:
    """Numbers of classes of the file and the model, where all shapes differ in the first axis alone, and alike."""
    pairs = {(len(tensors[n]), len(own[n])) for n in misshapen if tensors[n].dim() and own[n].dim()}
    rest = all(tensors[n].shape[1:] == own[n].shape[1:] for n in misshapen)
    return pairs.pop() if rest and len(pairs) == 1 and len(misshapen) <= 2 else None


def _like(names: Mapping[str, Tensor]) -> str:
    return next(iter(names), "none")


def _parts(names: Sequence[str]) -> str:
    """The modules that names belong to, at their highest level."""
    return ", ".join(list(dict.fromkeys(name.partition(".")[0] for name in names))[:3])
