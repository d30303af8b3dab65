"""The times of a network's parts, measured in context: whole networks run, each with all layers at one form and rank.

One pass so times a candidate of every layer, layout changes and cache misses included. The dense model runs in between,
and every time counts relative to it, so that a machine that gets slower or faster meanwhile changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from statistics import median
from time import perf_counter

from ranksearch.costs import factor_macs
from ranksearch.networks import Layer
from ranksearch.progress import Ticks, no_ticks
from ranksearch.timing.levels import Form, forms_of, levels
from ranksearch.timing.prices import Curve, Prices, Shape, shape_of
from ranksearch.timing.runtime import Part, Prepared, Session

_TURNS = 5
"""Turns that a variant and the dense model take."""

_LEAST = 0.03
"""Seconds that a turn takes at least."""


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
    dense = prepared.session({})
    passes = _warm(dense)
    variants = [
        (form, chains)
        for form in forms_of(layers, decompositions)
        for chains in levels(layers, form, multiple)
    ]
    reference = dense.profile(passes).of(seconds)
    own: dict[Shape, list[float]] = {}
    points: dict[tuple[Shape, Form], list[list[tuple[int, float]]]] = {}
    for done, (form, chains) in enumerate(variants):
        progress(done, len(variants))
        session = prepared.session(chains)
        ratio = median(_in_turns(dense, session, _TURNS, max(1, passes // _TURNS)))
        parts = session.profile(passes).of(seconds * ratio)
        for layer in layers:
            if layer.name in chains:
                chain = chains[layer.name]
                curves = points.setdefault((shape_of(layer), form), [[] for _ in chain])
                for k, work in enumerate(factor_macs(layer, chain)):
                    curves[k].append((work, parts[Part(layer.name, k)]))
    progress(len(variants), len(variants))
    for layer in layers:
        own.setdefault(shape_of(layer), []).append(reference[Part(layer.name, 0)])
    return Prices(
        total=seconds,
        layers={shape: sum(found) / len(found) for shape, found in own.items()},
        curves={key: tuple(map(Curve.of, curves)) for key, curves in points.items()},
    )


def dense_seconds(prepared: Prepared) -> float:
    """The median time of a forward pass of the dense model."""
    dense = prepared.session({})
    return median(_each(dense, 3 * _warm(dense)))


def _warm(session: Session) -> int:
    """How many forward passes make a turn, after the first ones."""
    session.run()
    return max(3, ceil(_LEAST / max(min(_each(session, 3)), 1e-6)))


def _each(session: Session, passes: int) -> list[float]:
    """Seconds of each of some forward passes."""
    found = []
    for _ in range(passes):
        began = perf_counter()
        session.run()
        found.append(perf_counter() - began)
    return found


def compare(dense: Session, other: Session, turns: int) -> list[float]:
    """Ratios of the time of a session to the dense model's, turn by turn."""
    return _in_turns(dense, other, turns, _warm(dense))


def _in_turns(dense: Session, other: Session, turns: int, passes: int) -> list[float]:
    other.run()
    return [median(_each(other, passes)) / median(_each(dense, passes)) for _ in range(turns)]
