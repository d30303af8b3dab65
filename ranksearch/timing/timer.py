"""One model on one runtime: the time of the dense model, of candidates, and of whole plans."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from ranksearch.cache import Caches, digest
from ranksearch.errors import InputError, expected
from ranksearch.networks import Batch, Layer, device_of, repeated
from ranksearch.progress import Ticks, no_ticks
from ranksearch.timing.conditions import Conditions
from ranksearch.timing.correction import TimedOn
from ranksearch.timing.grid import GRIDS, rank_multiples
from ranksearch.timing.measure import Meter, compare, compare_briefly, dense_seconds, measure_prices
from ranksearch.timing.prices import Curve, Prices, Shape
from ranksearch.timing.registry import RUNTIMES
from ranksearch.timing.runtime import Chains, Prepared, Session, Workload

log = logging.getLogger(__name__)

TURNS = 21
"""Turns in which a plan and the dense model alternate."""


@dataclass(frozen=True)
class TimingSettings:
    """What times are measured on.

    threads: None stands for torch's current number. folder: where measurements are kept, in addition to the cache.
    """

    runtime: str = "torch"
    batch: int = 1
    threads: int | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "runtime", RUNTIMES.resolve(self.runtime).name)
        if not isinstance(self.batch, int) or self.batch < 1:
            raise InputError(expected("latency_batch", "a whole number, 1 or more", self.batch))


@dataclass(frozen=True)
class Ratio:
    """The time of a plan over the dense model's: the median over turns, and its 95 % interval."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, ratios: Sequence[float]) -> Ratio:
        """From paired turns. The interval is that of the sign test: it assumes nothing about the noise."""
        from scipy.stats import binom  # takes half a second to import

        ordered = sorted(ratios)
        n = len(ordered)
        cut = max(0, int(binom.ppf(0.025, n, 0.5)) - 1)
        return cls(median(ordered), ordered[cut], ordered[n - 1 - cut])


@dataclass(frozen=True)
class Timer:
    """A model made ready on a runtime.

    seconds: of a forward pass of the dense model. key: what times depend on. conditions: the same for people to read.
    kept: what was measured.
    """

    prepared: Prepared
    seconds: float
    key: str
    conditions: Conditions
    kept: Caches

    @classmethod
    def start(
        cls,
        model: nn.Module,
        layers: Sequence[Layer],
        example: Batch,
        settings: TimingSettings,
        laid_out: Callable[[nn.Module], nn.Module],
        cache: Path | None = None,
    ) -> Timer:
        """Make a model ready and time it, unless that was done before. layers: those that can be factorised."""
        runtime = RUNTIMES.get(settings.runtime)
        threads = settings.threads or torch.get_num_threads()
        batch = repeated(example, settings.batch)
        prepared = runtime.prepare(Workload(model, layers, batch, threads, laid_out))
        conditions = Conditions.here(runtime, device_of(batch), threads, settings.batch)
        key = digest(conditions.key, repr(model), [repr(layer) for layer in layers])
        kept = Caches.of(settings.folder, cache)
        seconds = recalled(
            kept, digest("dense", key), lambda: dense_seconds(prepared), lambda found: found, _positive
        )
        return cls(prepared, seconds, key, conditions, kept)

    def prices(
        self,
        layers: Sequence[Layer],
        decompositions: Sequence[str],
        *,
        multiple: Callable[[Layer], int],
        progress: Ticks = no_ticks,
    ) -> Prices:
        """The times of parts."""
        key = digest("prices", self.key, tuple(decompositions), [multiple(layer) for layer in layers])

        def measure() -> Prices:
            return measure_prices(
                self.prepared,
                layers,
                decompositions,
                seconds=self.seconds,
                multiple=multiple,
                progress=progress,
            )

        return recalled(self.kept, key, measure, _written, _read)

    def multiples(
        self, layers: Sequence[Layer], decompositions: Sequence[str], progress: Ticks = no_ticks
    ) -> dict[str, int]:
        """By layer name, the number that ranks had best be multiples of."""
        key = digest("multiples", self.key, tuple(decompositions), [layer.name for layer in layers])

        def measure() -> dict[str, int]:
            meter = Meter.of(self.prepared, self.seconds)
            return rank_multiples(meter, layers, decompositions, progress)

        def read(plain: Any) -> dict[str, int]:
            return {layer.name: GRIDS[GRIDS.index(int(plain[layer.name]))] for layer in layers}

        return recalled(self.kept, key, measure, lambda found: found, read)

    def ratio(self, chains: Chains) -> Ratio:
        """The time of a plan over the dense model's, measured in turns."""

        def measure() -> Ratio:
            return Ratio.of(compare(self.prepared.session({}), self.prepared.session(chains), TURNS))

        return recalled(self.kept, self._key("ratio", chains), measure, lambda found: vars(found), _ratio)

    def brief_ratio(self, chains: Chains) -> Ratio:
        """The same, measured in a few seconds at most, unless it was measured before, in either way."""

        def measure() -> Ratio:
            return Ratio.of(compare_briefly(self._dense, self.prepared.session(chains), TURNS))

        thorough = self._key("ratio", chains)
        key = thorough if self.kept.get(thorough) is not None else self._key("brief ratio", chains)
        return recalled(self.kept, key, measure, lambda found: vars(found), _ratio)

    def layer_seconds(self, chains: Chains) -> dict[str, float]:
        """By layer name, seconds of its chain, or of the dense layer, within the model with these chains."""

        def measure() -> dict[str, float]:
            found: dict[str, float] = {}
            for part, seconds in self._meter.parts(chains).items():
                found[part.layer] = found.get(part.layer, 0.0) + seconds
            return found

        def read(plain: Any) -> dict[str, float]:
            return {str(name): float(seconds) for name, seconds in plain.items()}

        return recalled(self.kept, self._key("layers", chains), measure, lambda found: found, read)

    @property
    def on(self) -> TimedOn:
        """What the times hold for, as files keep it."""
        held = self.conditions
        return TimedOn(held.runtime, held.version, held.batch, held.threads)

    @cached_property
    def _dense(self) -> Session:
        return self.prepared.session({})

    @cached_property
    def _meter(self) -> Meter:
        return Meter.of(self.prepared, self.seconds)

    def _key(self, way: str, chains: Chains) -> str:
        return digest(way, self.key, sorted(chains.items()))


Measured = TypeVar("Measured")


def recalled(
    kept: Caches,
    key: str,
    measure: Callable[[], Measured],
    written: Callable[[Measured], Any],
    read: Callable[[Any], Measured],
) -> Measured:
    """What was measured before under a key, or is now. What is kept and cannot be read is measured again."""
    if (entry := kept.get(key)) is not None:
        try:
            return read(entry[1])
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            log.warning("A kept measurement cannot be read; it is repeated.")
    found = measure()
    kept.put(key, {}, written(found))
    return found


def _ratio(plain: Any) -> Ratio:
    return Ratio(*(_positive(plain[name]) for name in ("median", "low", "high")))


def _positive(plain: Any) -> float:
    seconds = float(plain)
    if not 0 < seconds < inf:
        raise ValueError(seconds)
    return seconds


def _written(prices: Prices) -> dict[str, Any]:
    shapes = list(prices.layers)
    return {
        "total": prices.total,
        "shapes": [_plain(shape) for shape in shapes],
        "layers": [prices.layers[shape] for shape in shapes],
        "curves": [
            [shapes.index(shape), *form, [[list(c.work), list(c.seconds)] for c in curves]]
            for (shape, form), curves in prices.curves.items()
        ],
    }


def _read(plain: Any) -> Prices:
    shapes = [_shape(found) for found in plain["shapes"]]
    curves = {
        (shapes[k], (name, form)): tuple(Curve(tuple(work), tuple(seconds)) for work, seconds in own)
        for k, name, form, own in plain["curves"]
    }
    return Prices(plain["total"], dict(zip(shapes, plain["layers"], strict=True)), curves)


def _plain(shape: Shape) -> dict[str, Any]:
    calls = [[list(call.in_size), list(call.out_size)] for call in shape.calls]
    return vars(shape) | {"calls": calls}


def _shape(plain: dict[str, Any]) -> Shape:
    from ranksearch.networks import Call

    sizes = ("kernel_size", "stride", "dilation", "output_padding")
    found = plain | {name: tuple(plain[name]) for name in sizes if name in plain}
    padding = plain["padding"]
    calls = tuple(Call(tuple(given), tuple(output)) for given, output in plain["calls"])
    return Layer(
        **found | {"padding": padding if isinstance(padding, str) else tuple(padding), "calls": calls}
    )


def nanoseconds(seconds: float) -> int:
    """Whole nanoseconds, at least one."""
    return max(1, int(np.rint(seconds * 1e9)))
