"""Docstrings say `name: what it is` of parameters and fields, also within a paragraph: each becomes a list item."""

from __future__ import annotations

import re
from typing import Any

from griffe import Class, Extension, Function

NAMED = re.compile(r"(?:^|(?<=[.;:)] )|(?<=\n))((?:\w+, )*\w+):\s+(?=\S)")


class Named(Extension):
    """Lists in the docstrings of functions and classes."""

    def on_function(self, *, func: Function, **_: Any) -> None:
        if func.docstring:
            func.docstring.value = listed(func.docstring.value, {p.name.lstrip("*") for p in func.parameters})

    def on_class(self, *, cls: Class, **_: Any) -> None:
        if cls.docstring:
            cls.docstring.value = listed(cls.docstring.value, set(cls.members))


def listed(text: str, names: set[str]) -> str:
    """The text with an item for each of these names that it explains."""
    return "\n\n".join(_paragraph(each, names | {"returns"}) for each in re.split(r"\n\s*\n", text))


def _paragraph(text: str, names: set[str]) -> str:
    starts = [m for m in NAMED.finditer(text) if {*m[1].split(", ")} <= names]
    if not starts:
        return text
    ends = [m.start() for m in starts[1:]] + [len(text)]
    before = text[: starts[0].start()].strip()
    items = [
        f"- {', '.join(f'`{name}`' for name in m[1].split(', '))}: {' '.join(text[m.end() : end].split())}"
        for m, end in zip(starts, ends, strict=True)
    ]
    return "\n".join([*([before, ""] if before else []), *items])
