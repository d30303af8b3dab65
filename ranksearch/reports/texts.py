"""The words of a report: one catalogue per language, with the same keys."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ranksearch.costs import COSTS, unit_of
from ranksearch.errors import InputError, expected
from ranksearch.objects import nearest

LANGUAGES = ("en", "ja")


@dataclass(frozen=True)
class Texts:
    """The catalogue of a language."""

    language: str
    of: Mapping[str, str]

    def __call__(self, key: str, **values: object) -> str:
        """A text by its key, with values in the places that it names."""
        return self.of[key].format_map(values)

    def unit(self, metric: str) -> str:
        """What a cost metric counts."""
        return self.of.get(f"unit_{metric}", unit_of(metric))

    def label(self, kind: str, name: str) -> str:
        """What something of a kind is called: a score, an origin, a role; its own name where there is no word."""
        return self.of.get(f"{kind}_{name}", name)


@cache
def texts_in(language: str) -> Texts:
    """The catalogue of a language. Raises InputError for one that there is none for."""
    if language not in LANGUAGES:
        near = nearest(language, LANGUAGES)
        way_out = f"Did you mean {near}?" if near else ""
        raise InputError(expected("lang", f"one of {', '.join(LANGUAGES)}", repr(language), way_out))
    source = files("ranksearch.reports").joinpath("texts", f"{language}.toml")
    return Texts(language, tomllib.loads(source.read_text(encoding="utf-8")))


def is_time(metric: str) -> bool:
    """Whether a cost metric counts time."""
    found = COSTS.find(metric)
    return found is not None and found.base == "s"
