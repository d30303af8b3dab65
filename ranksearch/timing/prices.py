"""What a layer, or a chain in its place, takes: measured at some ranks, interpolated between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from ranksearch.costs import factor_macs
from ranksearch.networks import Chain, Layer
from ranksearch.timing.levels import Form

Shape = Layer
"""A layer without its name: layers of equal shape share their times."""


def shape_of(layer: Layer) -> Shape:
    """What the time of a layer depends on."""
    return replace(layer, name="", reason=None, bias=False, padding_idx=None)


@dataclass(frozen=True)
class Curve:
    """Seconds of one factor by its multiply-accumulates, rising."""

    work: tuple[int, ...]
    seconds: tuple[float, ...]

    @classmethod
    def of(cls, points: Iterable[tuple[int, float]]) -> Curve:
        """From measurements: those of equal work are averaged."""
        by_work: dict[int, list[float]] = {}
        for work, seconds in points:
            by_work.setdefault(work, []).append(seconds)
        return cls(tuple(sorted(by_work)), tuple(float(np.mean(by_work[w])) for w in sorted(by_work)))

    def at(self, work: int) -> float:
        """Between measurements linear, below the first one constant, above the last one proportional."""
        if work > self.work[-1]:
            return self.seconds[-1] * work / self.work[-1]
        return float(np.interp(work, self.work, self.seconds))


@dataclass(frozen=True)
class Prices:
    """Times of the parts of a network on one machine and runtime, for one batch.

    total: seconds of a forward pass of the dense model.
    layers: seconds of dense layers, by shape.
    curves: of the factors of each form, by shape.
    """

    total: float
    layers: Mapping[Shape, float]
    curves: Mapping[tuple[Shape, Form], tuple[Curve, ...]]

    def of_layer(self, layer: Layer) -> float:
        """Seconds that the dense layer takes."""
        return self.layers[shape_of(layer)]

    def of_chain(self, layer: Layer, form: Form, chain: Chain) -> float | None:
        """Seconds that a chain of some form takes in the layer's place; None if that form was not measured there."""
        curves = self.curves.get((shape_of(layer), form))
        if curves is None or len(curves) != len(chain):
            return None
        return sum(curve.at(work) for curve, work in zip(curves, factor_macs(layer, chain), strict=True))
