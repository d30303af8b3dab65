"""Registries: what can be chosen by name, built in, registered by the user, or brought by installed packages.

Names and summaries are there without loading what they stand for, so that help texts and the check of a mistyped name
need not wait for torch. An installed package takes no name from what is built in or registered, and a broken one stops
only who asks for what it brings.
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
    usual: the name for what people may also call it, where they do.
    """

    kind: str
    group: str
    is_one: Callable[[Any], bool]
    wanted: str
    instances: bool = True
    usual: Callable[[str], str] = lambda name: name
    _offered: dict[str, tuple[str, str]] = field(default_factory=dict)
    _entries: dict[str, EntryPoint] | None = None
    _known: dict[str, T] = field(default_factory=dict)
    _left_out: set[str] = field(default_factory=set)
    _unusual: set[str] = field(default_factory=set)

    def offer(self, name: str, where: str, summary: str, *, usual: bool = True) -> None:
        """Have what is built in loaded when it is first asked for; `where` is `package.module:OBJECT`. usual: whether
        defaults take it."""
        self._offered[name] = (where, summary)
        if not usual:
            self._unusual.add(name)

    def register(self, thing: Given) -> Given:
        """Make something known under its name; usable as a decorator. Raises InputError for a name that is taken.

        What a package brings gives way, unless it is in use.
        """
        found = self._made(thing, self.kind)
        name = found.name  # type: ignore[attr-defined]
        if name in self and not self._waits(name):
            raise InputError(expected(self.kind, "an unused name", repr(name)))
        self._put(name, found)
        return thing

    def get(self, name: str) -> T:
        """What has that name. Raises InputError that lists the names."""
        if name not in self._known:
            if name in self._offered:
                self._known[name] = self._made(_load(self._offered[name][0]), self.kind)
            elif name in self._brought():
                self._known[name] = self._from_package(name)
            else:
                way_out = close_match(str(name), self.names())
                raise InputError(expected(self.kind, " or ".join(self.names()), repr(name), way_out))
        return self._known[name]

    def find(self, name: str) -> T | None:
        """What has that name; None where nothing has, or where it is of a broken package, of which one warning tells.

        For defaults and tables. Where somebody asks for the name, `get` raises what is wrong.
        """
        if not self._waits(name):
            return self.get(name) if name in self else None
        if name in self._left_out:
            return None
        try:
            return self.get(name)
        except InputError as error:
            log.warning("%s It is left out.", error)
            self._left_out.add(name)
            return None

    def usable(self) -> tuple[str, ...]:
        """The names that a default may take, without those of broken packages and what is only taken by name. Loads
        what packages bring, no more."""
        names = (name for name in self.names() if name not in self._unusual)
        return tuple(name for name in names if not self._waits(name) or self.find(name) is not None)

    def resolve(self, spec: str) -> T:
        """What a name stands for, or `package.module:OBJECT` or `file.py:OBJECT`, which is then registered.

        The same object may be named several times. Raises InputError where it is not of this kind, or where its name is
        that of something else. What a package brings gives way, unless it is in use.
        """
        if ":" not in spec:
            return self.get(self.usual(spec))
        loaded = load_object(spec, option=self.kind)
        found = self._made(loaded, self.kind, f" ({spec})")
        name = found.name  # type: ignore[attr-defined]
        if name not in self or (self._waits(name) and self._brought()[name].value != spec):
            self._put(name, found)
        elif (known := self.get(name)) is not found and type(known) is not loaded:
            got = f"{name!r}, which is taken"
            raise InputError(expected(f"the name of {spec}", "an unused name", got, "Choose another name."))
        return self.get(name)

    def knows(self, spec: str) -> bool:
        """Whether it is a name, or may name an object, which is not looked at."""
        return ":" in spec or self.usual(spec) in self

    def names(self) -> tuple[str, ...]:
        """All names: built in, brought by packages, be they broken or not, and registered.

        The order does not depend on what is loaded already.
        """
        return tuple(dict.fromkeys((*self._offered, *self._brought(), *self._known)))

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

    def _put(self, name: str, thing: T) -> None:
        if name in self._brought():
            log.warning(
                "%s is ignored: another one is registered by that name.", self._about(self._brought()[name])
            )
        self._known[name] = thing

    def _made(self, thing: Any, what: str, whence: str = "") -> T:
        """The thing, or the instance that a class stands for. Raises InputError where it is not of this kind."""
        return self._checked(self._instance(thing), what, whence)

    def _instance(self, thing: Any) -> Any:
        return thing() if self.instances and isinstance(thing, type) else thing

    def _checked(self, found: Any, what: str, whence: str = "") -> T:
        if not self.is_one(found) or not isinstance(getattr(found, "name", None), str):
            raise InputError(expected(what, self.wanted, f"{type(found).__name__}{whence}"))
        return found  # type: ignore[no-any-return]

    def _waits(self, name: str) -> bool:
        """Whether a package brings it, and nobody has loaded it yet."""
        return name not in self._known and name in self._brought()

    def _brought(self) -> dict[str, EntryPoint]:
        """What packages bring under names that are not built in, by name; of several the first package's."""
        if self._entries is None:
            self._entries = {}
            # In the order of packages' names: that of folders is up to the file system, and the same packages are to
            # give the same choice everywhere.
            for entry in sorted(entry_points(group=self.group) if self.group else (), key=_package):
                name = entry.name
                if name in self._offered:
                    log.warning("%s is ignored: one that is built in has that name.", self._about(entry))
                elif name in self._entries:
                    first = _package(self._entries[name])
                    log.warning("%s is ignored: %s brings one of that name too.", self._about(entry), first)
                else:
                    self._entries[name] = entry
        return self._entries

    def _about(self, entry: EntryPoint) -> str:
        return f"{self.kind} {entry.name!r} of the package {_package(entry)}"

    def _from_package(self, name: str) -> T:
        """What an installed package brings. Raises InputError that names the package where it cannot be used."""
        entry = self._brought()[name]
        what = self._about(entry)
        try:
            made = self._instance(entry.load())
        except (Exception, SystemExit) as error:  # a script ends the process when it is imported
            raise InputError(expected(what, "one that can be loaded", told(error))) from error
        found = self._checked(made, what)
        if made.name != name:
            way_out = "The entry point and what it loads have to have the same name."
            raise InputError(expected(what, f"one whose `name` is {name!r}", repr(made.name), way_out))
        return found


def _package(entry: EntryPoint) -> str:
    return (entry.dist and entry.dist.name) or entry.value


def _load(where: str) -> Any:
    module, _, name = where.partition(":")
    return getattr(import_module(module), name)
