"""Budgets: what the user asks for, parsed once, and the resulting limit for a model."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import ceil, isfinite

from ranksearch.costs.cost import Cost
from ranksearch.costs.part import Part, part_in_words
from ranksearch.costs.registry import COSTS, is_measured, shown, unit_of
from ranksearch.errors import InputError, expected

_UNITS = {
    "": {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12},
    "s": {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9},
    "B": {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12},
}
"""By base, the units in which amounts are given and named, from small to large."""

_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}

_EXAMPLES = {"": "an amount of {unit}, such as 54k", "s": "a time, such as 6ms", "B": "a size, such as 1MB"}

_FORMS = (
    "a fraction to keep (0.2), a percentage (20%), an amount (54k, 40.5M), a time (6ms) or a size (1MB, 1MiB)"
)


@dataclass(frozen=True)
class Kept:
    """How much to keep of a model: a fraction of it, or an absolute amount; the other is None.

    base: "s" for an amount of time, in nanoseconds, "B" for a size, in bytes, "" for a plain number.
    """

    fraction: float | None = None
    amount: int | None = None
    base: str = ""

    @classmethod
    def parse(cls, value: object) -> Kept:
        """From 0.2, "0.2", "20%", an amount with a prefix, "54k" or "40.5M", a time, "6ms", or a size, "1MB" or "1MiB".

        A plain number above 1 is rejected: 20 is probably meant as 20 %. Raises InputError.
        """
        if isinstance(value, Kept):
            return value
        text = str(value).strip()
        match = re.fullmatch(
            r"(\d+(?:[._]?\d+)*\.?\d*(?:e-?\d+)?|\.\d+(?:e-?\d+)?)\s*(%|[a-z]*)",
            text.replace("µ", "u"),
            re.IGNORECASE,
        )
        if isinstance(value, bool) or match is None:
            raise InputError(expected("budget", _FORMS, repr(value)))
        number, suffix = float(match[1].replace("_", "")), match[2]
        if suffix in ("", "%"):
            fraction = number / 100 if suffix else number
            if not (isfinite(fraction) and 0 < fraction <= 1):
                way_out = f"Did you mean {number:g}%?" if not suffix and 2 <= number <= 100 else ""
                raise InputError(expected("budget", f"{_FORMS}, above 0 and at most 1", repr(value), way_out))
            return cls(fraction=fraction)
        found = _unit(suffix)
        if found is None or not (number > 0 and isfinite(number)):
            raise InputError(expected("budget", _FORMS, repr(value)))
        base, size = found
        return cls(amount=max(1, round(number * size)), base=base)

    @property
    def name(self) -> str:
        """As short as possible, but unique: 0.2, 0.125, 1, 54k, 1MB."""
        if self.fraction is not None:
            short = f"{self.fraction:g}"
            return short if float(short) == self.fraction else repr(self.fraction)
        assert self.amount is not None
        units = _UNITS[self.base]
        # A plain number without a prefix would read as a fraction.
        unit = [unit for unit, size in units.items() if self.amount >= size][-1] or "k"
        return f"{_exact(self.amount, units[unit])}{unit}"

    def limit(self, dense: int) -> int:
        """The limit for a model whose dense form costs `dense`."""
        if self.fraction is not None:
            return int(self.fraction * dense)
        assert self.amount is not None
        return self.amount


def _unit(suffix: str) -> tuple[str, int] | None:
    """The base of a unit and its size; None if there is none of that name. Case counts for prefixes alone: 1M, 1mb."""
    for base, units in _UNITS.items():
        for unit, size in {**units, **(_BINARY if base == "B" else {})}.items():
            if suffix == unit or (suffix.lower() == unit.lower() and (base or unit == "k")):
                return base, size
    return None


def _exact(amount: int, size: int) -> str:
    """amount / size with as many digits as needed; both are integers, size is a power of ten."""
    whole, rest = divmod(amount, size)
    digits = str(rest).rjust(len(str(size)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


@dataclass(frozen=True)
class Budget:
    """The most that a model may cost in one cost metric, and in each of the further ones in `also`.

    kept: what was asked for. dense: what the dense model costs in the metric. limit: the most that the whole compressed
    model may cost. part: what was asked for is to be kept of that alone; the rest of the model stays as it is, so that
    a limit on the part is one on the whole. None stands for the whole model.
    """

    metric: str
    kept: Kept
    dense: int
    limit: int
    also: tuple[Budget, ...] = ()
    part: Part | None = None

    @classmethod
    def of(
        cls,
        dense: Cost,
        kept: object,
        metric: str = "params",
        also: Limits = (),
        part: Part | None = None,
    ) -> Budget:
        """The budget of a model that costs `dense`; `kept` as `Kept.parse` accepts it, `also` by cost metric.

        Raises InputError.
        """
        asked, amount = Kept.parse(kept), dense.of(metric)
        known = COSTS.find(metric)
        if asked.amount is not None and known is not None and known.base != asked.base:
            wanted = _EXAMPLES[known.base].format(unit=known.unit)
            raise InputError(expected("budget", f"for {metric} a fraction or {wanted}", repr(asked.name)))
        others = tuple(cls.of(dense, other, name, part=part) for name, other in also)
        whole = cls(metric, asked, amount, amount, others, part)
        return replace(whole, limit=whole.rest + asked.limit(whole.counted(amount)))

    @classmethod
    def at_most(cls, dense: Cost, limit: int, metric: str = "params") -> Budget:
        """The budget of `limit` units of the metric, for a model that costs `dense`."""
        known = COSTS.find(metric)
        return cls.of(dense, Kept(amount=limit, base=known.base if known else ""), metric)

    @property
    def name(self) -> str:
        """What was asked for: 0.2, 54k."""
        return self.kept.name

    @property
    def rest(self) -> int:
        """What the model costs outside of the part that counts."""
        return 0 if self.part is None else self.part.rest(self.metric, self.dense)

    def counted(self, amount: int) -> int:
        """What counts of the cost of a whole model."""
        return amount - self.rest

    def share(self, amount: int) -> float:
        """The same as a fraction of what the dense model has of it."""
        return self.counted(amount) / max(1, self.counted(self.dense))

    @property
    def fraction(self) -> float:
        """The largest fraction of the dense model, or of its part that counts, that may be kept."""
        return self.share(self.limit) if self.kept.fraction is None else self.kept.fraction

    def keeping(self, fraction: float) -> Budget:
        """The same for another fraction to keep."""
        limit = self.rest + int(fraction * self.counted(self.dense))
        return replace(self, kept=Kept(fraction=fraction), limit=limit)

    @property
    def every(self) -> tuple[Budget, ...]:
        """Every limit that a plan has to meet, this one first."""
        return (self, *self.also)

    @property
    def measured(self) -> tuple[Budget, ...]:
        """Those limits that are about what is measured."""
        return tuple(each for each in self.every if is_measured(each.metric))

    def allowing(self, metric: str, fraction: float) -> Budget:
        """The same with another limit on one of the cost metrics, as a fraction of what the dense model costs."""
        if self.metric == metric:
            return replace(self, limit=max(1, ceil(fraction * self.dense)))
        return replace(
            self, also=tuple(x.allowing(metric, fraction) if x.metric == metric else x for x in self.also)
        )

    def met_by(self, cost: Cost) -> bool:
        """Whether a whole model of this cost is within every limit."""
        return all(cost.of(each.metric) <= each.limit for each in self.every)

    def __str__(self) -> str:
        """`at most 53,944 of 269,722 parameters`, with `and` between several; of a part, the whole model's as well."""
        return " and ".join(each._in_words() for each in self.every)

    def _in_words(self) -> str:
        unit = unit_of(self.metric)
        limit, dense = (shown(self.metric, amount) for amount in (self.limit, self.dense))
        if self.part is None:
            return f"at most {limit} of {dense} {unit}"
        own = [shown(self.metric, self.counted(amount)) for amount in (self.limit, self.dense)]
        whole = f"{limit} of {dense} of the whole model"
        return f"at most {own[0]} of {own[1]} {unit} of {part_in_words(self.part.asked)} ({whole})"

    def smallest(self, least: int) -> str:
        """The smallest budget to ask for if the cheapest plan costs `least`, in the form of the original one."""
        own, dense = self.counted(least), self.counted(self.dense)
        if self.kept.fraction is None:
            return Kept(amount=own, base=self.kept.base).name
        step = ceil(own / max(1, dense) * 10_000)
        while int(step / 10_000 * dense) < own:
            step += 1
        return f"{step / 10_000:.4f}"


Limits = tuple[tuple[str, Kept], ...]
"""Further limits: cost metrics with how much to keep in each."""
