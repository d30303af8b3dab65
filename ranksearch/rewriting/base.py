"""The interface of rewrites: a module that computes the same with plain layers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn


class Rewrite(ABC):
    """One kind of module that is written as plain layers. Stateless."""

    @abstractmethod
    def applied(self, module: nn.Module) -> nn.Module | None:
        """A module that computes the same in evaluation mode, with weights in plain layers alone.

        None where the rewrite does not apply. `module` belongs to a copy of the model and may be changed.
        """


class Joined(nn.Module, ABC):
    """A module written out as plain layers, which can be joined again while all of them are whole."""

    @abstractmethod
    def joined(self) -> nn.Module | None:
        """The module as it was before, with the weights as they are now; None where a layer has been factorised."""
