"""What of a model a weights file holds: the tensors of its state, each once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ranksearch.errors import InputError, expected

_RESERVED = "__metadata__"


@dataclass(frozen=True)
class Stored:
    """tensors: by the name that each is stored under. aliases: further names of these tensors, with the stored one."""

    tensors: Mapping[str, Tensor]
    aliases: Mapping[str, str]

    @property
    def nbytes(self) -> int:
        """Size of the tensors in a file, without its header."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())


def stored_tensors(model: nn.Module) -> Stored:
    """Parameters and persistent buffers. A tensor known under several names is stored once, under the first.

    What modules add to their state as `extra_state` is left out. Raises InputError for a state that safetensors cannot
    store.
    """
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    seen: dict[tuple[object, ...], str] = {}
    for name, tensor in _state(model).items():
        key = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
        if tensor.numel() and key in seen:
            aliases[name] = seen[key]
        else:
            seen[key] = name
            tensors[name] = tensor
    return Stored(tensors, aliases)


def _state(model: nn.Module) -> dict[str, Tensor]:
    state: dict[str, Any] = model.state_dict()
    others = [k for k, v in state.items() if not isinstance(v, Tensor) and not k.endswith("_extra_state")]
    if others:  # packed weights of quantised modules
        got = f"{others[0]}, a {type(state[others[0]]).__name__}"
        way_out = "Quantise what is delivered instead; from Python, `torch.save` keeps such a model."
        raise InputError(expected("model", "a state of tensors alone, as safetensors stores", got, way_out))
    if _RESERVED in state:
        raise InputError(expected("model", "tensors of names that safetensors can store", _RESERVED))
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}
