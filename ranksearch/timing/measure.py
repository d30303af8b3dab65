"""The times of a network's parts, measured in context: whole networks run, each with all layers at one form and rank.

One pass so times a candidate of every layer, layout changes and cache misses included. The dense model runs in between,
and every time counts relative to it, so that a machine that gets slower or faster meanwhile changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

from ranksearch.costs import factor_macs
from ranksearch.networks import Layer
from ranksearch.progress import Ticks, no_ticks
from ranksearch.timing.levels import Form, forms_of, levels
from ranksearch.timing.prices import Curve, Prices, Shape, shape_of
from ranksearch.timing.runtime import Chains, Part, Prepared, Session

_TURNS = 5
"""Turns that a variant and the dense model take."""

_LEAST = 0.03
"""Seconds that a turn takes at least."""

_BRIEF = 0.01
"""Seconds that a turn takes at least where time is short."""

_LONGEST = 3.0
"""Seconds after which no more turns begin where time is short, but for the first `_TURNS`."""


@dataclass(frozen=True)
class Meter:
    """Times parts of a network relative to the whole dense one.

    seconds: of the dense model, which all times count relative to. passes: forward passes in a turn.
    """

    prepared: Prepared
    dense: Session
    seconds: float
    passes: int

    @classmethod
    def of(cls, prepared: Prepared, seconds: float) -> Meter:
        """Make the dense model ready."""
        dense = prepared.session({})
        return cls(prepared, dense, seconds, _warm(dense))

    def parts(self, chains: Chains) -> dict[Part, float]:
        """Seconds of each part of the model with these chains."""
        session = self.prepared.profiled(chains)
        ratio = median(_in_turns(self.dense, session, _TURNS, max(1, self.passes // _TURNS)))
        return session.profile(self.passes).of(self.seconds * ratio)


def measure_prices(
    prepared: Prepared,
    layers: Sequence[Layer],
    decompositions: Sequence[str],
    *,
    seconds: float,
    multiple: Callable[[Layer], int] = lambda layer: 1,
    progress: Ticks = no_ticks,
) -> Prices:
    """Time the dense layers, and the factors of every form at some ranks.

    layers: those that can be factorised. seconds: the time of the dense model, which all others count relative to.
    multiple: what a layer's ranks are multiples of.
    """
    meter = Meter.of(prepared, seconds)
    variants = [
        (form, chains)
        for form in forms_of(layers, decompositions)
        for chains in levels(layers, form, multiple)
    ]
    reference = meter.parts({})
    own: dict[Shape, list[float]] = {}
    points: dict[tuple[Shape, Form], list[list[tuple[int, float]]]] = {}
    for done, (form, chains) in enumerate(variants):
        progress(done, len(variants))
        parts = meter.parts(chains)
        for layer in layers:
            if layer.name in chains and Part(layer.name, 0) in parts:
                chain = chains[layer.name]
                curves = points.setdefault((shape_of(layer), form), [[] for _ in chain])
                for k, work in enumerate(factor_macs(layer, chain)):
                    curves[k].append((work, parts[Part(layer.name, k)]))
    progress(len(variants), len(variants))
    for layer in layers:
        if (part := Part(layer.name, 0)) in reference:
            own.setdefault(shape_of(layer), []).append(reference[part])
    return Prices(
        total=seconds,
        layers={shape: sum(found) / len(found) for shape, found in own.items()},
        curves={key: tuple(map(Curve.of, curves)) for key, curves in points.items()},
    )


def dense_seconds(prepared: Prepared) -> float:
    """The median time of a forward pass of the dense model."""
    dense = prepared.session({})
    return median(_each(dense, 3 * _warm(dense)))


def compare(dense: Session, other: Session, turns: int) -> list[float]:
    """Ratios of the time of a session to the dense model's, turn by turn."""
    return _in_turns(dense, other, turns, _warm(dense))


def _warm(session: Session) -> int:
    """How many forward passes make a turn, after the first ones."""
    session.run()
    return max(3, ceil(_LEAST / max(min(_each(session, 3)), 1e-6)))


def compare_briefly(dense: Session, other: Session, turns: int) -> list[float]:
    """The same in a few seconds: shorter turns, and fewer where one pass takes long."""
    dense.run()
    once = max(min(_each(dense, 2)), 1e-6)
    passes = min(20, ceil(_BRIEF / once))
    return _in_turns(dense, other, min(turns, max(_TURNS, int(_LONGEST / (2 * passes * once)))), passes)


def _in_turns(dense: Session, other: Session, turns: int, passes: int) -> list[float]:
    other.run()
    return [median(_each(other, passes)) / median(_each(dense, passes)) for _ in range(turns)]


def _each(session: Session, passes: int) -> list[float]:
    """Seconds of each of some forward passes."""
    return [session.seconds() for _ in range(passes)]
