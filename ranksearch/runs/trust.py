"""What a plan or a folder from elsewhere may decide: nothing that names code, or a place to read or write.

Plans and folders travel, so their options are data. What runs code, or reads or writes files, has to come from the
person at the keyboard, who may also say that a plan or a folder is to be trusted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from ranksearch.errors import InputError, expected
from ranksearch.runs.option_values import listed
from ranksearch.runs.options import RunOptions

PATHS = ("weights", "probe", "out", "cache")
"""Options that are paths."""

LOCATIONS = ("storage", "artifacts")
"""Options that are a path or a URL."""

OBJECTS = (
    "model",
    "data",
    "metric",
    "metric_fn",
    "output",
    "mask",
    "collate",
    "loss",
    "allocator",
    "objective",
    "space",
    "sampler",
    "runtime",
)
"""Options that name one thing, which may be an object of the user's own."""

_PLACES = frozenset({*PATHS, *LOCATIONS})
_NAMES = frozenset({*OBJECTS, "limit", "decompositions", "accept", "export", "track"})


def check_trusted(values: Mapping[str, Any], where: str) -> None:
    """Raise InputError where options that come from `where` name code, or a place to read or write."""
    risky = [name for name, value in values.items() if _is_risky(name, value)]
    if risky:
        got = ", ".join(f"`{name}={_shown(values[name])}`" for name in risky)
        wanted = "options that name neither code nor files to read or write"
        way_out = "Give these yourself, or add `trust=True` if you trust it."
        raise InputError(expected(where, wanted, got, way_out))


def needs_trust(options: RunOptions, given: Collection[str] = ()) -> bool:
    """Whether a run with these options can be continued from its folder alone only where the folder is trusted.

    given: options that whoever continues it gives again, or that the folder does not keep.
    """
    stored = options.model_dump(mode="json", exclude={"out", *given})
    return any(_is_risky(name, value) for name, value in stored.items())


def _is_risky(name: str, value: Any) -> bool:
    if value is None or name not in _PLACES | _NAMES:
        return False
    if name in _PLACES:
        return str(value) != "none"
    if name == "model":
        return not _is_plain_model(value)
    if name == "data":
        return bool(value != "digits")
    # What is registered goes by a plain name; anything with a colon is imported, but for the weights of outputs.
    return any(":" in str(part) and not _is_weighed(name, str(part)) for part in listed(value))


def _is_weighed(name: str, part: str) -> bool:
    return name == "output" and bool(re.fullmatch(r"[\d.]+(e-?\d+)?", part.rpartition(":")[2].strip()))


def _is_plain_model(value: Any) -> bool:
    if not isinstance(value, str) or value == "digits":
        return bool(value == "digits")
    from ranksearch.tasks.sources import is_plain  # loads torch, which most options need not wait for

    return is_plain(value)


def _shown(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
