"""Registries (stand-in)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Generic, TypeVar

from ranksearch.errors import InputError, expected

T = TypeVar("T")


class Registry(Generic[T]):
    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._known: dict[str, Any] = {}

    def offer(self, name: str, where: str, summary: str) -> None:
        self._known[name] = (where, summary)

    def register(self, thing: Any) -> Any:
        if thing.name in self._known:
            raise InputError(expected(f"{self.kind} name", "one that is free", repr(thing.name)))
        self._known[thing.name] = thing
        return thing

    def names(self) -> tuple[str, ...]:
        return tuple(self._known)

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def get(self, name: str) -> T:
        if name not in self._known:
            raise InputError(expected(self.kind, " or ".join(self._known), repr(name)))
        found = self._known[name]
        if isinstance(found, tuple):
            module, _, attribute = found[0].partition(":")
            found = getattr(import_module(module), attribute)
            found = self._known[name] = found() if isinstance(found, type) else found
        return found  # type: ignore[no-any-return]

    def resolve(self, spec: str) -> T:
        if ":" not in spec:
            return self.get(spec)
        from ranksearch.objects import load_object

        found = load_object(spec, option=self.kind)
        found = found() if isinstance(found, type) else found
        if found.name not in self._known:
            self.register(found)
        return found  # type: ignore[no-any-return]
