"""The command that options stand for: for others, with files by name alone, or to be pasted on this machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

from ranksearch.redaction import without_folders
from ranksearch.runs.config import flag
from ranksearch.runs.options import PANELS, RunOptions, in_panels
from ranksearch.runs.settings import NOT_RECORDED
from ranksearch.runs.trust import OBJECTS, PATHS
from ranksearch.visible import visible

OF_A_DELIVERY = ("Model", "Data", "Delivery", "Run")
"""Panels of the options that say how a plan is carried out."""

_WITH_PLACES = frozenset({*PATHS, *OBJECTS, "decompositions", "limit", "export"})
_ABOUT_FILES = frozenset({"export", "quantize", "quantize_tolerance"})
"""Options about exported files, which no plan file keeps, though the command has them."""

_REPEATED = frozenset({"limit", "rank_multiple"})
"""Options with several values, each of which is given by itself."""


def command(begin: str, options: RunOptions, panels: tuple[str, ...] = ()) -> str:
    """What to type for these options: `begin`, and every option that has a value of its own.

    panels: those of the options that the command has; all where empty. Options about one machine's folders and one
    run's output are left out, as in plan files.
    """
    left_out = NOT_RECORDED - _ABOUT_FILES
    names = [name for name in in_panels(*(panels or PANELS)) if name not in left_out]
    return _typed(begin, options, names, None)


def command_here(begin: str, options: RunOptions, names: Collection[str]) -> str:
    """The same to be pasted on this machine, in the working directory: with whole paths, and the cache.

    names: options that the command has.
    """
    kept = [name for name in RunOptions.model_fields if name in names and name not in _OF_ONE_RUN]
    return _typed(begin, options, kept, Path.cwd())


_OF_ONE_RUN = NOT_RECORDED - _ABOUT_FILES - {"cache"}


def _typed(begin: str, options: RunOptions, names: Collection[str], base: Path | None) -> str:
    values, defaults = (one.model_dump(mode="json") for one in (options, RunOptions()))
    words = shlex.split(begin)
    for name in names:
        if values[name] != defaults[name]:
            words += _given(name, values[name], base)
    return visible(shlex.join(words))


def _given(name: str, value: Any, base: Path | None) -> list[str]:
    if isinstance(value, bool):
        return [flag(name) if value else f"--no-{flag(name)[2:]}"]
    if value == []:
        return [flag(name), "none"]
    parts = [str(part) for part in (value if isinstance(value, list) else [value])]
    if name in _WITH_PLACES:
        parts = [without_folders(part) if base is None else _from(base, part) for part in parts]
    if name in _REPEATED:
        return [word for part in parts for word in (flag(name), part)]
    return [flag(name), ",".join(parts)]


def from_folder(base: Path, name: str, value: Any) -> Any:
    """The value of an option with its paths as seen from a folder."""
    if name not in _WITH_PLACES:
        return value
    return [_from(base, str(x)) for x in value] if isinstance(value, list) else _from(base, str(value))


def _from(base: Path, text: str) -> str:
    """A path, or a name with a path in it, which starts at a folder where it can: `imagefolder:data`."""
    return re.sub(rf"(^|[:=]){re.escape(str(base).rstrip('/'))}/(?=[^/-])", r"\1", text)
