"""Examples of a data set taken apart, into the input of a model and its target, and put together to batches."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from ranksearch.errors import blaming

Collate = Callable[[list[Any]], Any]
"""Makes a batch of a list of examples, as `collate_fn` does for torch's DataLoader."""

TARGETS = ("labels", "label", "targets", "target")
"""Keys of an example that is a dict, under which data sets keep what is to be predicted."""


@dataclass(frozen=True)
class Reader:
    """How the examples of a data set are read for a model.

    An example is (input, target), (input,), (input, None) or a bare input. An input is a tensor, a tuple of positional
    arguments, or a dict of keyword arguments. A bare dict gives its target by a usual key. For a model that needs
    several positional arguments the first ones of an example are those, what follows is the target.

    positional: how many arguments `forward` needs by position. masks: how many optional ones after those are masks, by
    their names. needed: names of arguments that it cannot do without. collate: makes batches, such as one that pads;
    what it makes is read as an example is. None stacks tensors.
    """

    positional: int = 1
    masks: int = 0
    needed: frozenset[str] = frozenset()
    collate: Collate | None = None

    @classmethod
    def of(cls, model: nn.Module, collate: Collate | None = None) -> Reader:
        """The reader for a model, by the signature of its `forward`."""
        try:
            parameters = list(inspect.signature(model.forward).parameters.values())
        except (TypeError, ValueError):
            return cls(collate=collate)
        ordered = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        needed = [p for p in ordered if p.default is p.empty]
        masks = 0
        for p in ordered[max(1, len(needed)) :]:
            if "mask" not in p.name:
                break
            masks += 1
        keywords = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty}
        return cls(max(1, len(needed)), masks, frozenset({p.name for p in needed} | keywords), collate)

    def pair(self, item: Any) -> tuple[Any, Any]:
        """(input, target) of an example; the target is None where there is none."""
        if isinstance(item, Mapping):
            return self._of_mapping(item)
        if not isinstance(item, list | tuple):
            return item, None
        count = self._inputs_in(item)
        if count > 1:
            return tuple(item[:count]), item[count] if len(item) > count else None
        first, target = (*item, None, None)[:2]
        return (_arguments(first) if isinstance(first, Mapping) else first), target

    def _inputs_in(self, item: Sequence[Any]) -> int:
        if not item or isinstance(item[0], Mapping | list | tuple):
            return 1
        # A pair is never taken for an input and its mask: its second part is the target.
        with_masks = self.positional + self.masks
        if self.masks and len(item) > with_masks and all(isinstance(x, Tensor) for x in item[:with_masks]):
            return with_masks
        return self.positional if len(item) >= self.positional else 1

    def _of_mapping(self, item: Mapping[str, Any]) -> tuple[Any, Any]:
        inputs = _arguments(item)
        key = next((key for key in TARGETS if key in inputs and key not in self.needed), None)
        return inputs, None if key is None else inputs.pop(key)

    def batch(self, items: Sequence[Any], *, labelled: bool = True) -> tuple[Any, Any]:
        """(inputs, targets) of several examples; targets are None where there are none, or none are wanted.

        Raises InputError where they do not go into one batch.
        """
        way_out = "Bring them to one shape, or say how batches are made: `collate`."
        with blaming("data", "examples that go into one batch", way_out):
            if self.collate is not None:
                inputs, targets = self.pair(self.collate(list(items)))
                return inputs, targets if labelled else None
            inputs, targets = map(list, zip(*map(self.pair, items), strict=True))
            if not labelled or any(target is None for target in targets):
                return default_collate(inputs), None
            return default_collate(inputs), default_collate(targets)

    def inputs(self, items: Sequence[Any]) -> tuple[Any, None]:
        """(inputs, None) of several examples."""
        return self.batch(items, labelled=False)[0], None


def _arguments(item: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments: lists of numbers are tensors, and texts, which no model takes, are left out."""
    return {
        key: torch.as_tensor(value) if _is_numbers(value) else value
        for key, value in item.items()
        if not isinstance(value, str)
    }


def _is_numbers(value: Any) -> bool:
    """Also a list of such lists."""
    if not isinstance(value, list) or not value:
        return False
    first = value[0]
    return all(isinstance(x, bool | int | float) for x in value) or (
        isinstance(first, list)
        and all(isinstance(x, list) and len(x) == len(first) and _is_numbers(x) for x in value)
    )
