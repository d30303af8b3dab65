"""What something costs: a whole number for each cost metric."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from operator import add, sub


class Cost:
    """Amounts by the name of their cost metric, in its unit: `Cost(params=896, flops=1_769_472)`. Immutable."""

    __slots__ = ("_amounts",)

    def __init__(self, **amounts: int) -> None:
        self._amounts: Mapping[str, int] = amounts

    def of(self, metric: str) -> int:
        """The amount in one cost metric."""
        return self._amounts[metric]

    @property
    def params(self) -> int:
        """The parameters, which every cost counts."""
        return self._amounts["params"]

    @property
    def flops(self) -> int:
        """The FLOPs of one example, which every cost counts."""
        return self._amounts["flops"]

    @property
    def amounts(self) -> dict[str, int]:
        """All amounts, by the name of the cost metric."""
        return dict(self._amounts)

    def only(self, metrics: Iterable[str]) -> Cost:
        """The amounts in some of the metrics alone."""
        return Cost(**{name: self._amounts[name] for name in metrics})

    def __add__(self, other: Cost) -> Cost:
        return self._with(other, add)

    def __sub__(self, other: Cost) -> Cost:
        return self._with(other, sub)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cost) and self._amounts == other._amounts

    def __hash__(self) -> int:
        return hash(tuple(sorted(self._amounts.items())))

    def __repr__(self) -> str:
        return f"Cost({', '.join(f'{name}={amount}' for name, amount in self._amounts.items())})"

    def _with(self, other: Cost, combine: Callable[[int, int], int]) -> Cost:
        if self._amounts.keys() != other._amounts.keys():
            raise ValueError(f"{self} and {other} do not count the same")
        return Cost(**{name: combine(amount, other._amounts[name]) for name, amount in self._amounts.items()})
