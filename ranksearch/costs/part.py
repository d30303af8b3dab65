"""What a budget counts where that is not the whole model: some of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ranksearch.costs.cost import Cost

FACTORISABLE = "factorisable"
"""All layers that can be factorised."""

BLOCKS = "blocks"
"""All layers of the repeated blocks of a model, as the literature about transformers counts."""

_IN_WORDS = {FACTORISABLE: "the factorisable layers", BLOCKS: "the blocks"}


def part_in_words(asked: str) -> str:
    """`the blocks`, as it stands behind `parameters of`; patterns stand for themselves."""
    return _IN_WORDS.get(asked, asked)


@dataclass(frozen=True)
class Part:
    """Some layers of a model. asked: as they were asked for, `blocks`. cost: of them in the dense model, the sum over
    the layers."""

    asked: str
    cost: Cost

    def rest(self, metric: str, dense: int) -> int:
        """What the rest of a model that costs `dense` in a metric costs, which no plan changes."""
        return dense - self.cost.of(metric)

    def as_json(self) -> dict[str, Any]:
        """The part as JSON knows it."""
        return {"asked": self.asked, "cost": self.cost.amounts}

    @classmethod
    def of_json(cls, plain: Mapping[str, Any]) -> Part:
        """The part that `as_json` wrote. Raises KeyError, TypeError or ValueError for something else."""
        return cls(str(plain["asked"]), Cost(**{name: int(n) for name, n in plain["cost"].items()}))
