"""One model on one runtime: the time of the dense model, of candidates, and of whole plans."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from scipy.stats import binom
from torch import nn

from ranksearch.cache import Cache, digest
from ranksearch.errors import InputError, expected
from ranksearch.networks import Batch, Layer, repeated
from ranksearch.progress import Ticks, no_ticks
from ranksearch.timing.measure import compare, dense_seconds, measure_prices
from ranksearch.timing.prices import Curve, Prices, Shape
from ranksearch.timing.registry import RUNTIMES
from ranksearch.timing.runtime import Chains, Prepared, Workload

TURNS = 21
"""Turns in which a plan and the dense model alternate."""


@dataclass(frozen=True)
class TimingSettings:
    """What times are measured on. threads: None stands for torch's current number."""

    runtime: str = "torch"
    batch: int = 1
    threads: int | None = None

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
        ordered = sorted(ratios)
        n = len(ordered)
        cut = max(0, int(binom.ppf(0.025, n, 0.5)) - 1)
        return cls(median(ordered), ordered[cut], ordered[n - 1 - cut])


@dataclass(frozen=True)
class Timer:
    """A model made ready on a runtime. seconds: of a forward pass of the dense model. key: what times depend on."""

    prepared: Prepared
    seconds: float
    key: str

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
        machine = (_processor(), threads, settings.batch, runtime.name, runtime.version())
        key = digest(*machine, repr(model), [repr(layer) for layer in layers])
        kept, own = Cache(cache), digest("dense", key)
        if (entry := kept.get(own)) is not None:
            return cls(prepared, entry[1]["seconds"], key)
        seconds = dense_seconds(prepared)
        kept.put(own, {}, {"seconds": seconds})
        return cls(prepared, seconds, key)

    def prices(
        self,
        layers: Sequence[Layer],
        decompositions: Sequence[str],
        *,
        multiple: Callable[[Layer], int],
        cache: Path | None = None,
        progress: Ticks = no_ticks,
    ) -> Prices:
        """The times of parts, from the cache where they were measured before."""
        key = digest("prices", self.key, tuple(decompositions), [multiple(layer) for layer in layers])
        kept = Cache(cache)
        if (entry := kept.get(key)) is not None:
            return _read(entry[1])
        found = measure_prices(
            self.prepared,
            layers,
            decompositions,
            seconds=self.seconds,
            multiple=multiple,
            progress=progress,
        )
        kept.put(key, {}, _written(found))
        return found

    def ratio(self, chains: Chains) -> Ratio:
        """The time of a plan over the dense model's, measured in turns."""
        return Ratio.of(compare(self.prepared.session({}), self.prepared.session(chains), TURNS))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    telling = [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return digest(platform.machine(), platform.processor(), telling[:2])


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

    sizes = ("kernel_size", "stride", "dilation")
    found = plain | {name: tuple(plain[name]) for name in sizes}
    padding = plain["padding"]
    calls = tuple(Call(tuple(given), tuple(output)) for given, output in plain["calls"])
    return Layer(
        **found | {"padding": padding if isinstance(padding, str) else tuple(padding), "calls": calls}
    )


def nanoseconds(seconds: float) -> int:
    """Whole nanoseconds, at least one."""
    return max(1, int(np.rint(seconds * 1e9)))
