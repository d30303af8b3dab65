from .base import Decomposition, Ranks
from .registry import DECOMPOSITIONS
from .spectral import gram, spectrum

__all__ = ["DECOMPOSITIONS", "Decomposition", "Ranks", "gram", "spectrum"]
