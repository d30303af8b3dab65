"""Weights of layers: prior knowledge about a network, and how the allocation uses it.

It is one number per layer, which multiplies its balanced errors, or the decision to keep the layer dense.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

from ranksearch.errors import InputError, expected
from ranksearch.networks import Layer
from ranksearch.planning.plan import Table


@dataclass(frozen=True)
class LayerWeights:
    """Prior knowledge about layers. The defaults change nothing.

    early: the number of protected layers, the first ones in the order of the forward pass that can be factorised.
    early_weight: the factor on their errors; None keeps them dense. prior: by name, factors on the errors of layers,
    as far as known: a hint that a search may override.
    """

    early: int = 0
    early_weight: float | None = None
    prior: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.early, int) or self.early < 0:
            raise InputError(expected("protect_early", "a whole number of layers, 0 or more", self.early))
        weights = {f"prior of layer {name}": weight for name, weight in self.prior.items()}
        if self.early_weight is not None:
            weights["the weight of `protect_early`"] = self.early_weight
        for what, weight in weights.items():
            if not (isfinite(weight) and weight > 0):
                raise InputError(expected(what, "a positive number", weight))

    @property
    def weighs(self) -> bool:
        """Whether the errors of some layers count more than those of others."""
        return bool(self.prior) or (self.early > 0 and self.early_weight is not None)

    @property
    def without_prior(self) -> LayerWeights:
        """The same without the prior."""
        return replace(self, prior={})

    def kept_dense(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """The layers, in the order of the forward pass, with a reason for those that are to stay dense.

        Raises InputError if no other layer would remain.
        """
        able = [layer.name for layer in layers if layer.reason is None]
        if 0 < len(able) <= self.early:
            wanted = f"fewer than the {len(able)} layers that can be factorised"
            raise InputError(expected("protect_early", wanted, self.early))
        spared = able[: self.early] if self.early_weight is None else []
        reason = f"one of the first {self.early} (`protect_early={self.early}`)"
        return tuple(replace(x, reason=reason) if x.name in spared else x for x in layers)

    def weighed(self, tables: Sequence[Table]) -> tuple[Table, ...]:
        """The tables, in the order of the forward pass, with their weights."""
        weight = 1.0 if self.early_weight is None else self.early_weight
        early = {table.layer.name for table in self.early_ones(tables)}
        return tuple(
            replace(
                table,
                weight=(weight if table.layer.name in early else 1.0) * self.prior.get(table.layer.name, 1.0),
            )
            for table in tables
        )

    def early_ones(self, tables: Sequence[Table]) -> Sequence[Table]:
        """Those of the protected layers, among the ones whose kernels matter."""
        return [table for table in tables if not table.unused][: self.early]


EVEN_WEIGHTS = LayerWeights()
