"""What counts of what a model returns: one tensor, found by a path or a function, or several side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor

from ranksearch.errors import InputError, expected
from ranksearch.objects import load_object

Output = Callable[[Any], Tensor]
"""Makes one tensor (N, …) of what a model returns."""

USUAL = ("logits", "out", "last_hidden_state")
"""Names of the tensor that counts, in libraries of transformers and in torchvision."""

_DEPTH = 4


@dataclass(frozen=True)
class Picked:
    """The tensor at a path of keys, attributes and positions: `logits`, `0`, `decoder.logits`."""

    path: str

    def __call__(self, returned: Any) -> Tensor:
        found = returned
        for part in self.path.split("."):
            found = child(found, part)
        if isinstance(found, Tensor):
            return found
        known = paths(returned)
        wanted = f"the path of a tensor ({', '.join(known)})" if known else "a model that returns tensors"
        raise InputError(expected("output", wanted, repr(self.path)))


@dataclass(frozen=True)
class Joined:
    """Several tensors side by side, so that losses which are sums over numbers are sums over the tensors."""

    parts: tuple[Picked, ...]
    weights: tuple[float, ...] = ()
    """Of their losses; where there are none, one loss is of all of them together."""

    def __call__(self, returned: Any) -> Tensor:
        return torch.cat([part(returned).flatten(1) for part in self.parts], dim=1)


def output_of(spec: Output | str | int) -> Output:
    """An output by a path, `logits` or `0`, by several with commas between them, which may have weights, `a:1,b:0.4`,
    by the name of a function, `file.py:fn`, or as it is. Raises InputError."""
    if isinstance(spec, int | str) and not isinstance(spec, bool):
        if (weighted := _weighted(str(spec))) is not None:
            return weighted
        if ":" not in str(spec):
            parts = tuple(Picked(part.strip()) for part in str(spec).split(",") if part.strip())
            return Joined(parts) if len(parts) > 1 else Picked(str(spec))
        spec = load_object(str(spec), option="output")
    if not callable(spec):
        wanted = "a path such as 'logits' or '0', or a function"
        raise InputError(expected("output", wanted, f"{spec!r:.80}"))
    return spec


def _weighted(spec: str) -> Joined | None:
    """Outputs with their weights; None where not each has one. Raises InputError for a weight that is not positive."""
    pairs = [part.strip().rpartition(":") for part in spec.split(",") if part.strip()]
    try:
        weights = tuple(float(weight) for _, _, weight in pairs)
    except ValueError:
        return None
    if not all(path for path, _, _ in pairs):
        return None
    if not all(0 < weight < inf for weight in weights):
        wanted = "a positive weight for each, as in logits:1,aux:0.4"
        raise InputError(expected("output", wanted, repr(spec)))
    return Joined(tuple(Picked(path.strip()) for path, _, _ in pairs), weights)


def one_tensor(returned: Any) -> Tensor:
    """What a model returns, where that is a tensor; otherwise the one of a usual name, or the only one in it. Raises
    InputError, with the paths that there are, where that does not decide.

    returns: An (N, …) tensor.
    """
    if isinstance(returned, Tensor):
        return returned
    if (path := usual_path(returned)) is not None:
        return Picked(path)(returned)
    known = paths(returned)
    got = type(returned).__name__ + (f" ({', '.join(known)})" if known else "")
    way_out = f"Say which counts: `output={next(iter(known))}`." if known else "Say by a function: `output`."
    raise InputError(expected("model", "a Tensor as output", got, way_out))


def usual_path(returned: Any) -> str | None:
    """The path of the tensor that counts where nobody said which; "" for what is a tensor, None where none is plain."""
    if isinstance(returned, Tensor):
        return ""
    for name in USUAL:
        if isinstance(child(returned, name), Tensor):
            return name
    found = [path for path, tensor in _tensors(returned, "", 0) if tensor.is_floating_point()]
    return found[0] if len(found) == 1 else None


def paths(returned: Any, shown: int = 8) -> list[str]:
    """The paths of the tensors in what a model returns; the first ones of many."""
    return [path for path, _ in _tensors(returned, "", 0)][:shown]


def child(tree: Any, part: str) -> Any:
    """What a tree holds under a key, an attribute or a position; None where it holds nothing there."""
    if isinstance(tree, Tensor):
        return None
    if isinstance(tree, Mapping):
        return tree.get(part, tree.get(int(part)) if part.isdecimal() else None)
    if part.isdecimal() and isinstance(tree, tuple | list):
        return tree[int(part)] if int(part) < len(tree) else None
    return getattr(tree, part, None)


def _tensors(tree: Any, path: str, depth: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(tree, Tensor):
        yield path.lstrip("."), tree
    elif depth < _DEPTH:
        for name in _names(tree):
            yield from _tensors(child(tree, name), f"{path}.{name}", depth + 1)


def _names(tree: Any) -> list[str]:
    if isinstance(tree, Mapping):
        return [str(key) for key in tree]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return list(tree._fields)
    if isinstance(tree, tuple | list):
        return list(map(str, range(len(tree))))
    if is_dataclass(tree) and not isinstance(tree, type):
        return [field.name for field in fields(tree)]
    return list(vars(tree)) if hasattr(tree, "__dict__") and not callable(tree) else []
