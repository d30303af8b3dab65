"""Registries: what can be chosen by name, built in, registered by the user, or brought by installed packages.

Names and summaries are there without loading what they stand for, so that help texts and the check of a mistyped name
need not wait for torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from ranksearch.errors import InputError, expected, told
from ranksearch.objects import close_match, load_object

log = logging.getLogger(__name__)

T = TypeVar("T")
Given = TypeVar("Given")


@dataclass
class Registry(Generic[T]):
    """Things of one kind by their `name`.

    kind: the parameter by which one of them is chosen, such as `allocator`; messages are about it. group: the
    entry-point group by which installed packages add theirs, "" for none. is_one: whether an object is of this kind.
    wanted: what to call one in a message. instances: whether a class stands for an instance, made without arguments.
    """

    kind: str
    group: str
    is_one: Callable[[Any], bool]
    wanted: str
    instances: bool = True
    _offered: dict[str, tuple[str, str]] = field(default_factory=dict)
    _entries: dict[str, EntryPoint] | None = None
    _known: dict[str, T] = field(default_factory=dict)

    def offer(self, name: str, where: str, summary: str) -> None:
        """Have what is built in loaded when it is first asked for; `where` is `package.module:OBJECT`."""
        self._offered[name] = (where, summary)

    def register(self, thing: Given) -> Given:
        """Make something known under its name; usable as a decorator. Raises InputError for a name that is taken."""
        found = self._made(thing, self.kind)
        name = found.name  # type: ignore[attr-defined]
        if name in self:
            raise InputError(expected(self.kind, "an unused name", repr(name)))
        self._known[name] = found
        return thing

    def get(self, name: str) -> T:
        """What has that name. Raises InputError that lists the names."""
        if name not in self._known:
            if name in self._offered:
                self._known[name] = self._made(_load(self._offered[name][0]), self.kind)
            elif name in self._brought():
                self._known[name] = self._from_package(self._brought()[name])
            else:
                way_out = close_match(str(name), self.names())
                raise InputError(expected(self.kind, " or ".join(self.names()), repr(name), way_out))
        return self._known[name]

    def resolve(self, spec: str) -> T:
        """What a name stands for, or `package.module:OBJECT` or `file.py:OBJECT`, which is then registered.

        The same object may be named several times. Raises InputError where it is not of this kind, or where its name is
        that of something else.
        """
        if ":" not in spec:
            return self.get(spec)
        loaded = load_object(spec, option=self.kind)
        found = self._made(loaded, self.kind, f" ({spec})")
        name = found.name  # type: ignore[attr-defined]
        if name not in self:
            self._known[name] = found
        elif (known := self.get(name)) is not found and type(known) is not loaded:
            got = f"{name!r}, which is taken"
            raise InputError(expected(f"the name of {spec}", "an unused name", got, "Choose another name."))
        return self.get(name)

    def names(self) -> tuple[str, ...]:
        """All names: built in, registered, brought by packages."""
        return tuple(dict.fromkeys((*self._offered, *self._known, *self._brought())))

    def summary(self, name: str) -> str:
        """A line on what has that name; of what is not built in the first line of its docstring."""
        if name in self._offered:
            return self._offered[name][1]
        if name not in self._known:
            return f"from {self._brought()[name].value.partition(':')[0]}"
        return (getattr(self._known[name], "__doc__", "") or "").strip().partition("\n")[0].rstrip(".")

    def __len__(self) -> int:
        return len(self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._offered or name in self._known or name in self._brought()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def _made(self, thing: Any, what: str, whence: str = "") -> T:
        """The thing, or the instance that a class stands for. Raises InputError where it is not of this kind."""
        found = thing() if self.instances and isinstance(thing, type) else thing
        if not self.is_one(found) or not isinstance(getattr(found, "name", None), str):
            raise InputError(expected(what, self.wanted, f"{type(found).__name__}{whence}"))
        return found  # type: ignore[no-any-return]

    def _brought(self) -> dict[str, EntryPoint]:
        if self._entries is None:
            found = entry_points(group=self.group) if self.group else ()
            self._entries = {entry.name: entry for entry in found}
        return self._entries

    def _from_package(self, entry: EntryPoint) -> T:
        """What an installed package brings. Raises InputError that names the package where it cannot be loaded."""
        package = entry.dist.name if entry.dist else entry.value
        try:
            return self._made(entry.load(), entry.name)
        except Exception as error:
            what = f"{self.kind} {entry.name!r} of the package {package}"
            raise InputError(expected(what, "one that can be loaded", told(error))) from error


def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)
