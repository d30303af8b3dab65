"""Which tensors of a file are a model's: the entry, and the prefix of the names, that fit it best."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from ranksearch.errors import MismatchError, expected
from ranksearch.networks.checkpoints import Entries, some, usual_first

_WRAPPERS = re.compile(r"(^|(?<=\.))(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and activation checkpointing put into names, at any depth."""


@dataclass(frozen=True)
class Fitted:
    """The tensors of a file under the names that a model has.

    entry: where they stand in the file, "" for its top. stripped, added: what was taken off the names, or put before
    them. left_out: tensors of the entry whose names do not have what was taken off. others: what would fit as well.
    """

    tensors: Mapping[str, Tensor]
    entry: str = ""
    stripped: str = ""
    added: str = ""
    left_out: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        """In one line; "" where the tensors are what the file holds, under the same names."""
        parts = [f"entry {self.entry}"] if self.entry else []
        if self.stripped:
            parts.append(f"prefix {self.stripped} stripped")
        if self.added:
            parts.append(f"prefix {self.added} added")
        if self.left_out:
            count = f"{len(self.left_out)} tensor{'s' * (len(self.left_out) > 1)}"
            parts.append(f"{count} outside it left out ({some(list(self.left_out))})")
        if self.others:
            parts.append(f"{', '.join(self.others)} would fit as well (`weights_entry`)")
        return "; ".join(parts)


@dataclass(frozen=True)
class _Way:
    """One way to read a file: `sign` is -1 where the prefix is taken off names, 1 where it is put before them."""

    entry: str
    prefix: str
    sign: int
    shapes: int = 0
    names: int = 0

    @property
    def order(self) -> tuple[object, ...]:
        """The best fit is first; of equal ones the usual entry, then the shortest prefix."""
        return (
            -self.shapes,
            -self.names,
            usual_first(self.entry),
            usual_first(self.prefix)[0],
            len(self.prefix),
        )

    @property
    def called(self) -> str:
        return f"{self.entry}.{self.prefix}".strip(".") if self.sign < 0 else self.entry


def fit_names(entries: Entries, own: Mapping[str, Tensor], what: str) -> Fitted:
    """The entry and prefix that give most of a model's names and shapes.

    Where several prefixes fit equally well, plain weights go before averaged ones. Raises MismatchError, about `what`,
    where that does not decide.
    """
    plain = {entry: _unwrapped(tensors, own) for entry, tensors in entries.items()}
    ways = sorted((way for entry, tensors in plain.items() for way in _ways(entry, tensors, own)), key=_order)
    best = ways[0]
    alike = [w for w in ways[1:] if (w.shapes, w.names) == (best.shapes, best.names) and best.names]
    rivals = [w for w in alike if w.entry == best.entry and best.prefix and _rival(w, best)]
    if rivals and not any(w.prefix == "" for w in alike):
        got = f"several that fit equally well ({some([w.called for w in (best, *rivals)])})"
        way_out = "Name one with `weights_entry`."
        raise MismatchError(expected(what, "weights of one model", got, way_out))
    tensors, left_out = _renamed(plain[best.entry], best)
    others = tuple(w.called for w in alike if w.called not in ("", best.called) and not _nested(w, best))
    return Fitted(
        tensors,
        entry=best.entry,
        stripped=best.prefix if best.sign < 0 else "",
        added=best.prefix if best.sign > 0 else "",
        left_out=left_out,
        others=others,
    )


def _order(way: _Way) -> tuple[object, ...]:
    return way.order


def _rival(way: _Way, best: _Way) -> bool:
    """Whether another prefix has as good a claim: neither averaged weights, nor the same ones under a longer name."""
    return not usual_first(way.prefix)[0] and not _nested(way, best)


def _nested(way: _Way, best: _Way) -> bool:
    return way.entry == best.entry and (
        way.prefix.startswith(best.prefix) or best.prefix.startswith(way.prefix)
    )


def _unwrapped(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Names without what wrappers put into them, but for names that the model itself has."""
    return {name if name in own else _WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}


def _ways(entry: str, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> Iterator[_Way]:
    """No prefix, and every prefix with which some name is one of the model's, with how many are."""
    names: Counter[tuple[str, int]] = Counter({("", -1): 0})
    shapes: Counter[tuple[str, int]] = Counter()
    for name, tensor in tensors.items():
        for prefix, rest in _cuts(name):
            if rest in own:
                names[prefix, -1] += 1
                shapes[prefix, -1] += own[rest].shape == tensor.shape
    for name, tensor in own.items():
        for prefix, rest in _cuts(name):
            if prefix and rest in tensors:
                names[prefix, 1] += 1
                shapes[prefix, 1] += tensors[rest].shape == tensor.shape
    for (prefix, sign), count in names.items():
        yield _Way(entry, prefix, sign, shapes[prefix, sign], count)


def _cuts(name: str) -> Iterator[tuple[str, str]]:
    """`a.b.c` → ("", "a.b.c"), ("a.", "b.c"), ("a.b.", "c")."""
    start = 0
    while True:
        yield name[:start], name[start:]
        start = name.find(".", start) + 1
        if not start:
            return


def _renamed(tensors: Mapping[str, Tensor], way: _Way) -> tuple[Mapping[str, Tensor], tuple[str, ...]]:
    if way.sign > 0:
        return {way.prefix + name: tensor for name, tensor in tensors.items()}, ()
    kept = {
        name.removeprefix(way.prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(way.prefix)
    }
    return kept, tuple(name for name in tensors if not name.startswith(way.prefix))
