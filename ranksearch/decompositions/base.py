"""The interface of decompositions: which chain replaces a layer, and the initial factors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import wraps
from typing import Any

from ranksearch.calibration import Whitened
from ranksearch.decompositions.spectral import Spectrum
from ranksearch.networks import Chain, Factors, Layer, widened

Ranks = tuple[int, ...]


def _of_group(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def asked(self: Decomposition, layer: Layer, *args: Any, **kwargs: Any) -> Any:
        return method(self, layer.group, *args, **kwargs)

    return asked


def _of_groups(method: Callable[..., Chain]) -> Callable[..., Chain]:
    @wraps(method)
    def asked(self: Decomposition, layer: Layer, *args: Any, **kwargs: Any) -> Chain:
        chain = method(self, layer.group, *args, **kwargs)
        return chain if layer.groups == 1 else widened(chain, layer.groups)

    return asked


class Decomposition(ABC):
    """One way to write a kernel as a chain. Stateless; one instance is registered under its name.

    Methods are written for layers without groups. A layer with groups is one layer for each of them: what is written
    is asked about one, and the chains of all are one chain of grouped convolutions.
    """

    name: str
    closed_form: bool = False
    """Whether `init` is already the minimum of ε and `spectra` gives ε exactly, so that nothing is refined."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name, wrap in (("forms", _of_group), ("max_ranks", _of_group), ("chain", _of_groups)):
            if name in vars(cls):
                setattr(cls, name, wrap(vars(cls)[name]))

    @abstractmethod
    def forms(self, layer: Layer) -> tuple[str, ...]:
        """Names of the variants it offers for a layer: ("",) if there is only one, () if it does not apply."""

    @abstractmethod
    def max_ranks(self, layer: Layer, form: str) -> Ranks:
        """The ranks at which every kernel of this shape is reproduced exactly."""

    @abstractmethod
    def chain(self, layer: Layer, form: str, ranks: Ranks) -> Chain:
        """The convolutions, from input to output; together they cover every spatial axis once.

        The first and the last one are dense; the last one carries the bias.
        """

    @abstractmethod
    def init(self, whitened: Whitened, form: str, ranks: Ranks) -> Factors:
        """Initial factors, in the order and shapes of the chain, in whitened coordinates.

        `whitened.kernel` (O, I, *kernel_size) is the kernel in coordinates where the plain norm is close to the
        moments' metric, so a plain decomposition of it is good enough.
        """

    def spectra(self, whitened: Whitened, form: str) -> tuple[Spectrum, ...]:
        """For each rank the spectrum of a cut; the sum of squared singular values beyond the rank estimates 2 ε.

        With several ranks this is needed to choose which of them to raise first; () if there is no estimate.
        """
        return ()
