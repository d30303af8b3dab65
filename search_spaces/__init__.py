"""Search spaces: how an Optuna trial becomes a plan."""

from __future__ import annotations

from ranksearch.errors import InputError, expected
from ranksearch.search_spaces.base import Params, SearchSpace
from ranksearch.search_spaces.grouped import Grouped
from ranksearch.search_spaces.ranks import Ranks
from ranksearch.search_spaces.sensitivities import Sensitivities

SEARCH_SPACES: dict[str, type[SearchSpace]] = {}


def register(space: type[SearchSpace]) -> type[SearchSpace]:
    """Offer a search space under its name; usable as a class decorator."""
    SEARCH_SPACES[space.name] = space
    return space


def get_search_space(name: str) -> type[SearchSpace]:
    """The search space of that name."""
    if name not in SEARCH_SPACES:
        raise InputError(expected("space", " or ".join(SEARCH_SPACES), repr(name)))
    return SEARCH_SPACES[name]


for _space in (Sensitivities, Ranks, Grouped):
    register(_space)

__all__ = ["SEARCH_SPACES", "Params", "Ranks", "SearchSpace", "get_search_space", "register"]
