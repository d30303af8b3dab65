"""Decompositions: the ways to write a kernel as a chain of smaller convolutions, by name."""

from __future__ import annotations

from ranksearch.decompositions.base import Decomposition, Ranks
from ranksearch.decompositions.cp import CP
from ranksearch.decompositions.spatial_svd import SpatialSVD
from ranksearch.decompositions.spectral import gram, spectrum
from ranksearch.decompositions.svd import SVD
from ranksearch.decompositions.tensor_train import TensorTrain
from ranksearch.decompositions.tucker2 import Tucker2
from ranksearch.errors import InputError, expected
from ranksearch.networks import Chain, Factor

__all__ = ["Chain", "Decomposition", "Factor", "Ranks", "get", "gram", "names", "register", "spectrum"]

_REGISTRY: dict[str, Decomposition] = {}


def register(decomposition: Decomposition) -> None:
    """Make a decomposition known under its name; a name can be registered once."""
    if decomposition.name in _REGISTRY:
        raise InputError(expected("decomposition name", "one that is free", repr(decomposition.name)))
    _REGISTRY[decomposition.name] = decomposition


def get(name: str) -> Decomposition:
    """The decomposition registered under a name."""
    if name not in _REGISTRY:
        raise InputError(expected("decomposition", f"one of {', '.join(_REGISTRY)}", repr(name)))
    return _REGISTRY[name]


def names() -> tuple[str, ...]:
    """All registered names."""
    return tuple(_REGISTRY)


for _decomposition in (SVD(), SpatialSVD(), Tucker2(), CP(), TensorTrain()):
    register(_decomposition)
