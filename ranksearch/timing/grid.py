"""What ranks had best be multiples of, measured: runtimes work on channels in blocks.

Where a rank between two multiples takes as long as the larger one, or longer, it only costs accuracy. Where it takes
about the mean of both, the finer grid leaves more to choose from.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.networks import Chain, Layer
from ranksearch.progress import Ticks, no_ticks
from ranksearch.timing.levels import Form, chains_up_to_dense, forms_of
from ranksearch.timing.measure import Meter
from ranksearch.timing.prices import Shape, shape_of

GRIDS = (4, 8, 16, 32)
"""The multiples that there are to choose from."""

PAYS = 0.75
"""A grid half as wide pays if the rank in the middle between two multiples takes at most this much of the way."""

USUAL = 8
"""No layer has wider steps than this unless it keeps `ROOM` ranks."""

ROOM = 8
"""Ranks at which a layer is cheaper than the dense one."""

FORMS = 2
"""Forms that are measured: those that most layers can take."""


def rank_multiples(
    meter: Meter, layers: Sequence[Layer], decompositions: Sequence[str], progress: Ticks = no_ticks
) -> dict[str, int]:
    """By layer name, the multiple: the widest grid at which the next finer one does not pay."""
    forms = _representative(layers, decompositions)
    ranks = sorted({rank for grid in GRIDS[1:] for rank in _around(grid)})
    times: dict[tuple[Shape, Form], dict[int, float]] = {}
    for done, (form, rank) in enumerate(wanted := [(form, rank) for form in forms for rank in ranks]):
        progress(done, len(wanted))
        found = {layer.name: _chain(layer, form, rank) for layer in layers}
        chains = {name: chain for name, chain in found.items() if chain is not None}
        parts = meter.parts(chains) if chains else {}
        for layer in layers:
            own = [seconds for part, seconds in parts.items() if part.layer == layer.name]
            if layer.name in chains and own:
                times.setdefault((shape_of(layer), form), {})[rank] = sum(own)
    progress(len(wanted), len(wanted))
    widest = _widest(list(times.values()))
    return {layer.name: _with_room(layer, forms, widest) for layer in layers}


def _around(grid: int) -> tuple[int, int, int]:
    """Two neighbours on a grid, and the rank in the middle between them."""
    return grid, grid + grid // 2, 2 * grid


def _widest(times: Sequence[dict[int, float]]) -> int:
    """times: of a layer in one form, by rank."""
    for grid in sorted(GRIDS[1:], reverse=True):
        ways = [
            _way(*(own[rank] for rank in _around(grid))) for own in times if own.keys() >= set(_around(grid))
        ]
        if ways and median(ways) > PAYS:
            return grid
    return GRIDS[0]


def _way(low: float, middle: float, high: float) -> float:
    """How much of the way from the time `low` to `high` is gone in the middle; all of it where there is none."""
    return (middle - low) / (high - low) if high > low else 1.0


def _representative(layers: Sequence[Layer], decompositions: Sequence[str]) -> list[Form]:
    """Forms with as few ranks as possible that most layers can take."""

    def rarity(form: Form) -> tuple[int, int]:
        takers = [layer for layer in layers if form[1] in DECOMPOSITIONS.get(form[0]).forms(layer)]
        ranks = max(len(DECOMPOSITIONS.get(form[0]).max_ranks(layer, form[1])) for layer in takers)
        return ranks, -len(takers)

    return sorted(forms_of(layers, decompositions), key=rarity)[:FORMS]


def _chain(layer: Layer, form: Form, rank: int) -> Chain | None:
    """The chain with all ranks alike; None where the layer cannot have it."""
    decomposition = DECOMPOSITIONS.get(form[0])
    if form[1] not in decomposition.forms(layer):
        return None
    most = decomposition.max_ranks(layer, form[1])
    return decomposition.chain(layer, form[1], (rank,) * len(most)) if rank <= min(most) else None


def _with_room(layer: Layer, forms: Sequence[Form], widest: int) -> int:
    """The multiple of a layer that is too small for the widest one."""
    multiple = widest
    while multiple > USUAL and all(len(chains_up_to_dense(layer, form, multiple)) < ROOM for form in forms):
        multiple //= 2
    return multiple
