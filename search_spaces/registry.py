"""The search spaces, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranksearch.registry import Registry

if TYPE_CHECKING:
    from ranksearch.search_spaces.base import SearchSpace


def _is_one(thing: Any) -> bool:
    from ranksearch.search_spaces.base import SearchSpace

    return isinstance(thing, type) and issubclass(thing, SearchSpace)


SEARCH_SPACES: Registry[type[SearchSpace]] = Registry(
    "space", "ranksearch.search_spaces", _is_one, "a subclass of SearchSpace", instances=False
)

_HERE = "ranksearch.search_spaces"
SEARCH_SPACES.offer(
    "sensitivities",
    f"{_HERE}.sensitivities:Sensitivities",
    "multipliers on the layers' errors, always within the budget",
)
SEARCH_SPACES.offer("ranks", f"{_HERE}.ranks:Ranks", "an index per layer")
SEARCH_SPACES.offer("grouped", f"{_HERE}.grouped:Grouped", "a level per group of layers")
