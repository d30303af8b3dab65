"""Weights in files, and models that take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ranksearch.errors import InputError, MismatchError, expected, told
from ranksearch.keywords import checks_keywords
from ranksearch.networks.checkpoints import Entries, read_entries, some, usual_first
from ranksearch.networks.fitting import Fitted, fit_names
from ranksearch.networks.mismatch import likely_cause
from ranksearch.objects import close_match


@dataclass(frozen=True)
class Weights:
    """The tensors of a weights file by name, as they stand in it, on the CPU.

    path: where they are from. entries: what the file holds, by entry; of a checkpoint there may be several.
    """

    path: Path
    entries: Entries

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Those of the usual entry."""
        return self.entries[min(self.entries, key=usual_first)] if self.entries else {}

    def fitted(self, own: Mapping[str, Tensor]) -> Fitted:
        """The tensors under the names of a model's, `own`, as far as they can be brought to them."""
        return fit_names(self.entries, own, f"weights {self.path}")


def read_weights(path: str | Path, entry: str | None = None) -> Weights:
    """The tensors of a file of weights, of the shards that an `.index.json` lists, or of a folder that has either.

    Files are known by their content: safetensors, or what torch.save wrote. No code in them is run. entry: which part
    of a checkpoint to take (`model_ema`), or a prefix of the names in it. Raises InputError.
    """
    path = Path(path)
    weights = Weights(path, read_entries(path))
    if entry is not None:
        weights = Weights(path, {entry: _entry(weights, entry)})
    strange = [
        f"{name}: {form}"
        for tensors in weights.entries.values()
        for name, tensor in tensors.items()
        if (form := _form(tensor))
    ]
    if strange:
        way_out = "Save them as plain tensors: to_dense() or dequantize()."
        raise InputError(expected(f"weights {path}", "dense tensors with values", some(strange), way_out))
    return weights


def _entry(weights: Weights, entry: str) -> Mapping[str, Tensor]:
    """The tensors of an entry by its whole name or its last part, or those with a prefix."""
    for name, tensors in weights.entries.items():
        if entry in (name, name.rpartition(".")[2]):
            return tensors
    prefix = f"{entry.rstrip('.')}."
    for name, tensors in weights.entries.items():
        start = prefix.removeprefix(f"{name}.") if name else prefix
        found = {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}
        if found:
            return found
    names = [name for name in weights.entries if name]
    prefixes = dict.fromkeys(n.partition(".")[0] for t in weights.entries.values() for n in t if "." in n)
    known = names or list(prefixes)
    wanted = f"one of {', '.join(known)}" if known else f"none, as {weights.path.name} has no parts"
    raise InputError(expected("weights_entry", wanted, repr(entry), close_match(entry, known)))


def _form(tensor: Tensor) -> str:
    """What is odd about how a tensor is stored; "" where nothing is."""
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantised"
    if tensor.is_meta:
        return "without values"
    return "" if tensor.layout == torch.strided else str(tensor.layout).removeprefix("torch.")


@checks_keywords
def load_weights(model: nn.Module, weights: Weights | str | Path, entry: str | None = None) -> Fitted:
    """Load a file into a model, in place, converted to its dtypes. Names, but for a prefix, and shapes have to agree.

    entry: as for `read_weights`. Returns what was taken, and how names were changed. Raises MismatchError, and changes
    nothing, where they do not agree, and InputError where there is NaN or infinity.
    """
    weights = weights if isinstance(weights, Weights) else read_weights(weights, entry)
    own = {name: tensor for name, tensor in model.state_dict().items() if isinstance(tensor, Tensor)}
    if lazy := [name for name, tensor in own.items() if is_lazy(tensor)]:
        way_out = "Run the model once on real input."
        raise InputError(expected("model", "parameters with a shape", f"lazy ones ({some(lazy)})", way_out))
    fitted = weights.fitted(own)
    tensors = fitted.tensors
    # torch itself makes up for the counter, which checkpoints older than torch 0.4.1 lack
    missing = [n for n in own if n not in tensors and not n.endswith("num_batches_tracked")]
    if missing:
        there = {_memory(own[n]) for n in own if n in tensors}
        missing = [n for n in missing if _memory(own[n]) not in there]  # tied ones are often saved once
    unexpected = [n for n in tensors if n not in own]
    misshapen = [n for n in own if n in tensors and tensors[n].shape != own[n].shape]
    shapes = [f"{n} {tuple(tensors[n].shape)} for {tuple(own[n].shape)}" for n in misshapen]
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
        got = "; ".join(f"{len(found)} {what} ({some(found)})" for what, found in troubles.items() if found)
        told_of = f"weights {weights.path}" + (f" ({fitted})" if str(fitted) else "")
        cause = likely_cause(weights.path, tensors, own, missing, unexpected, misshapen)
        raise MismatchError(expected(told_of, "the model's own names and shapes", got, cause))
    converted = {n: tensor.to(own[n].dtype) for n, tensor in tensors.items() if n in own}
    check_finite(model, f"weights {weights.path}", converted)
    try:
        model.load_state_dict(converted, strict=False)
    except RuntimeError as error:  # a model of the user's own may load in a way of its own
        wanted = "weights that the model can load"
        raise MismatchError(expected(f"weights {weights.path}", wanted, told(error))) from error
    return fitted


def _memory(tensor: Tensor) -> tuple[object, ...]:
    """Tells tensors that are one from others; those without values are all different."""
    place = tensor.data_ptr() if tensor.numel() and not tensor.is_meta else id(tensor)
    return place, tuple(tensor.shape)


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
