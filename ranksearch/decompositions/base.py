"""What a decomposition has to say: which chain it makes of a layer, and how to start."""

from __future__ import annotations

from abc import ABC, abstractmethod

from ranksearch.calibration import Whitened
from ranksearch.decompositions.spectral import Spectrum
from ranksearch.networks import Chain, Factors, Layer

Ranks = tuple[int, ...]


class Decomposition(ABC):
    """One way to write a kernel as a chain. Stateless; one instance is registered under its name."""

    name: str
    closed_form: bool = False
    """Whether `init` is already the minimum of ε and `spectra` give ε exactly: nothing is refined."""

    @abstractmethod
    def forms(self, layer: Layer) -> tuple[str, ...]:
        """Names of the shapes it offers for a layer: ("",) where there is just one, () where it does not apply."""

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
        """Weights to start from, in the order and shapes of the chain, in whitened coordinates.

        `whitened.kernel` (O, I, *kernel_size) is the kernel in coordinates where the plain norm is close to the
        moments' metric: a plain decomposition of it will do.
        """

    def spectra(self, whitened: Whitened, form: str) -> tuple[Spectrum, ...]:
        """For each rank the spectrum of a cut; squared singular values beyond the rank estimate twice the ε it costs.

        Needed where there are several ranks, to tell which of them to raise first; () where there is no estimate.
        """
        return ()
