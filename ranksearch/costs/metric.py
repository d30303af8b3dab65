"""The interface of cost metrics: the cost of a layer, of a chain and of a whole model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from torch import nn

    from ranksearch.networks import Batch, Chain, Layer


class CostMetric(ABC):
    """Something that a budget can count. Stateless; one instance is registered under its name.

    Amounts are whole numbers of the unit, so that sums over layers are exact: the cost of a plan is that of
    the dense model, minus the layers that it replaces, plus their chains.
    """

    name: ClassVar[str]
    """The name that selects it, also used for its amounts in files."""

    unit: ClassVar[str]
    """What it counts, as in `at most 53,944 of 269,722 parameters`."""

    exact: ClassVar[bool] = True
    """Whether a built model costs exactly what its plan says. An estimate is not checked against the model."""

    measured: ClassVar[bool] = False
    """Whether amounts are measured while the model runs, so that geometry does not tell them."""

    base: ClassVar[str] = ""
    """What absolute budgets are given in: "s" for times (6ms), counted in nanoseconds; "B" for sizes (1MB), counted in
    bytes; "" for plain numbers (54k)."""

    @abstractmethod
    def of_layer(self, layer: Layer) -> int:
        """A dense layer, in all its calls for one example."""

    @abstractmethod
    def of_chain(self, layer: Layer, chain: Chain) -> int:
        """A layer implemented as a chain, in all its calls for one example."""

    @abstractmethod
    def of_model(self, model: nn.Module, example: Batch) -> int:
        """A whole model, dense or compressed, for the first example of a batch."""

    def show(self, amount: int) -> str:
        """An amount formatted for display, without the unit."""
        return f"{amount:,}"

    def brief(self, amount: int) -> str:
        """The same where there is little room."""
        return self.show(amount)


def prefixed(amount: int) -> str:
    """A number in three digits: 270k, 4.76M, 896."""
    rounded = float(f"{amount:.3g}")
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if rounded >= size:
            return f"{rounded / size:.3g}{prefix}"
    return str(amount)
