"""Mistyped keywords: an error in the project's form, with the name that was meant."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from ranksearch.errors import InputError, expected
from ranksearch.objects import nearest

Thing = TypeVar("Thing", bound=Callable[..., Any])


def checks_keywords(thing: Thing) -> Thing:
    """A function, or a class, whose calls raise InputError instead of TypeError for keywords that it does not have.

    The error names the nearest keyword. For type checkers and `inspect.signature` the function stays what it is.
    """
    if isinstance(thing, type):
        thing.__init__ = _checked(thing.__init__, thing.__name__)  # type: ignore[misc]
        return thing
    return cast(Thing, _checked(thing, thing.__name__))


def _checked(function: Any, name: str) -> Any:
    known = [p.name for p in inspect.signature(function).parameters.values() if p.name != "self"]

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for keyword in kwargs:
            if keyword not in known:
                found = nearest(keyword, known)
                way_out = f"Did you mean `{found}`?" if found else f"It has {', '.join(known)}."
                raise InputError(expected(name, "a parameter that it has", repr(keyword), way_out))
        return function(*args, **kwargs)

    return call
