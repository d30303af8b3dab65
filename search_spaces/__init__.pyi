from .base import Params, SearchSpace
from .ranks import Ranks
from .registry import SEARCH_SPACES

__all__ = ["SEARCH_SPACES", "Params", "Ranks", "SearchSpace"]
