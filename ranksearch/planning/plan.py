"""Candidates and plans: plain values, one candidate for each layer that can be factorised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ranksearch.costs import Cost, layer_cost, shown, unit_of
from ranksearch.glance import AtAGlance
from ranksearch.networks import Layer

DENSE = "dense"

FEW = 4
"""Layers that a plan names when it is shown."""


@dataclass(frozen=True)
class Candidate:
    """One way to implement a layer; `cost` is that of the layer, `error` is ε in units of the loss.

    int8: whether its weights are int8 in the quantised file; the PyTorch model is float in any case. unused:
    whether its factors are zeros, since the model gives the same outputs without the layer's kernel.
    """

    decomposition: str
    form: str
    ranks: tuple[int, ...]
    cost: Cost
    error: float
    int8: bool = False
    unused: bool = False

    @property
    def is_dense(self) -> bool:
        return self.decomposition == DENSE

    def __str__(self) -> str:
        form = f"[{self.form}]" if self.form else ""
        ranks = "×".join(map(str, self.ranks))
        words = (f"{self.decomposition}{form}", ranks, "int8" * self.int8, "unused" * self.unused)
        return " ".join(filter(None, words))


@dataclass(frozen=True)
class Table:
    """The candidates of one layer, its Pareto front in the error and all cost metrics of the run.

    Sorted by cost, ascending; the dense layer, in float, is always one of them, with error 0.
    `scale` is the ε of replacing the kernel by zeros: error / scale is the relative error. `weight`
    multiplies the layer's errors in the allocation.
    """

    layer: Layer
    candidates: tuple[Candidate, ...]
    scale: float
    weight: float = 1.0

    @property
    def unused(self) -> bool:
        """Whether the layer's kernel does not matter; see `unused_tables`."""
        return any(candidate.unused for candidate in self.candidates)

    @cached_property
    def dense(self) -> Cost:
        """Cost of the dense layer."""
        kept = next((c.cost for c in self.candidates if c.is_dense and not c.int8), None)
        return layer_cost(self.layer, tuple(self.candidates[0].cost.amounts)) if kept is None else kept

    def costs(self, metric: str) -> NDArray[np.int64]:
        """A (c,) int64 array: the cost of each candidate in a metric."""
        return np.array([c.cost.of(metric) for c in self.candidates], dtype=np.int64)

    def errors(self) -> NDArray[np.float64]:
        """A (c,) float64 array: ε of each candidate."""
        return np.array([c.error for c in self.candidates])


@dataclass(frozen=True, repr=False)
class Plan(AtAGlance):
    """One candidate per layer that can be factorised, by layer name, and the cost of the whole model."""

    choices: Mapping[str, Candidate]
    cost: Cost

    @property
    def error(self) -> float:
        """The analytic score: the sum of ε over layers, an estimate of KL(dense ‖ compressed)."""
        return sum(c.error for c in self.choices.values())

    @property
    def ranks(self) -> dict[str, str]:
        """By layer name, the decomposition and ranks in the plan: `svd 12`."""
        return {name: str(candidate) for name, candidate in self.choices.items()}

    def glance(self) -> dict[str, str]:
        made = [f"{name}: {own}" for name, own in self.choices.items() if not own.is_dense or own.int8]
        more = [f"and {len(made) - FEW} more, see .ranks"] * (len(made) > FEW)
        return {
            "cost": ", ".join(f"{shown(name, n)} {unit_of(name)}" for name, n in self.cost.amounts.items()),
            "factorised": f"{len(made)} of {len(self.choices)} layers",
            "ranks": ", ".join([*made[:FEW], *more]) or "none",
            "error": f"{self.error:.4g}, in units of the loss",
        }

    @property
    def key(self) -> tuple[tuple[str, str, str, tuple[int, ...], bool], ...]:
        """Identity of the plan: equal keys build equal models."""
        return tuple((name, c.decomposition, c.form, c.ranks, c.int8) for name, c in self.choices.items())

    @property
    def int8(self) -> tuple[str, ...]:
        """The names of the layers that are to be int8."""
        return tuple(name for name, candidate in self.choices.items() if candidate.int8)
