"""Several values after one option, and short names of sources: what people type is taken as they mean it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from typer.core import TyperCommand

from ranksearch.costs import Kept
from ranksearch.errors import InputError

BUDGET = ("--budget", "-b")

SOURCES = {"tv": "torchvision", "hf": "transformers"}
"""Short names of where models and data come from."""


class Gathering(TyperCommand):
    """A command that takes `--budget 0.5 0.3` as `--budget 0.5,0.3`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        takes_paths = any(parameter.param_type_name == "argument" for parameter in self.params)
        return super().parse_args(ctx, gathered(args, takes_paths=takes_paths))


def gathered(words: Sequence[str], *, takes_paths: bool = False) -> list[str]:
    """The words of a command line with the values that follow a budget joined to it.

    takes_paths: whether the command takes paths too; a file or folder that is there is then no value.
    """
    found: list[str] = []
    joining = False
    for place, word in enumerate(words):
        if word == "--":
            return [*found, *words[place:]]
        if joining and _is_budget(word) and not (takes_paths and Path(word).exists()):
            found[-1] = f"{found[-1]},{word}"
        else:
            after_flag = bool(found) and words[place - 1] in BUDGET
            joining = after_flag or word.startswith(f"{BUDGET[0]}=")
            found.append(word)
    return found


def _is_budget(word: str) -> bool:
    parts = [part for part in word.split(",") if part.strip()]
    return bool(parts) and all(_is_number(part) or _is_kept(part) for part in parts)


def _is_number(part: str) -> bool:
    """Also one that is no budget, 20, so that the answer is about it: 20%."""
    try:
        return float(part) >= 0
    except ValueError:
        return False


def _is_kept(part: str) -> bool:
    try:
        Kept.parse(part)
    except InputError:
        return False
    return True


def written_out(name: str, value: Any) -> Any:
    """`tv:resnet18` → `torchvision:resnet18`, of a model or data."""
    if name not in ("model", "data") or not isinstance(value, str):
        return value
    source, colon, rest = value.partition(":")
    return f"{SOURCES.get(source, source)}{colon}{rest}"
