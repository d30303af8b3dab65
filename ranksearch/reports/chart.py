"""A chart as values: axes, lines, marks and rules, placed in the units of its drawing; templates/chart.svg draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from ranksearch.reports.figures import even_ticks, log_ticks, tick_texts


@dataclass(frozen=True)
class Point:
    """A point in data units. low, high: the ends of its interval on the vertical axis. details: what it stands for."""

    x: float
    y: float
    title: str
    style: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """A line through points in data units. step: level between them."""

    points: Sequence[tuple[float, float]]
    style: str
    label: str = ""
    step: bool = False


@dataclass(frozen=True)
class Rule:
    """A straight line across the chart at a value of one of its axes, with a label at its end."""

    at: float
    label: str
    vertical: bool = True


@dataclass(frozen=True)
class Tick:
    place: float
    text: str


@dataclass(frozen=True)
class Mark:
    x: float
    y: float
    title: str
    style: str
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Path:
    d: str
    style: str


@dataclass(frozen=True)
class PlacedRule:
    place: float
    label: str
    row: int
    vertical: bool


@dataclass(frozen=True)
class Legend:
    style: str
    text: str
    is_line: bool


@dataclass(frozen=True)
class Chart:
    """A drawing of `width` × `height`, whose data lie between left and right, top and bottom.

    title, summary: what it shows, in words, for those who do not see it.
    """

    key: str
    title: str
    summary: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    paths: tuple[Path, ...]
    rules: tuple[PlacedRule, ...]
    legend: tuple[Legend, ...]


@dataclass(frozen=True)
class Scale:
    """From data to the drawing, along one axis."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], begin: float, end: float, *, log: bool = False) -> Scale:
        """A scale that some values fit into, with some room beside them."""
        if log:
            values = [log10(value) for value in values]
        low, high = min(values), max(values)
        room = 0.06 * (high - low) or (0.3 if log else 0.06 * abs(high) or 1.0)
        low, high = low - room, high + room
        return cls(10**low if log else low, 10**high if log else high, begin, end, log)

    def __call__(self, value: float) -> float:
        """The place of a value, within the drawing."""
        low, high, at = (log10(x) if self.log else x for x in (self.low, self.high, max(value, self.floor)))
        part = min(1.0, max(0.0, (at - low) / (high - low)))
        return round(self.begin + part * (self.end - self.begin), 1)

    @property
    def floor(self) -> float:
        return self.low if self.log else float("-inf")

    def ticks(self, most: int = 6) -> tuple[Tick, ...]:
        """Round values within it."""
        values = log_ticks(self.low, self.high, most) if self.log else even_ticks(self.low, self.high, most)
        texts = tick_texts(values, log=self.log)
        return tuple(Tick(self(value), text) for value, text in zip(values, texts, strict=True))


def make_chart(
    key: str,
    title: str,
    summary: str,
    *,
    x_label: str,
    y_label: str,
    points: Sequence[Point] = (),
    lines: Sequence[Line] = (),
    rules: Sequence[Rule] = (),
    legend: Sequence[tuple[str, str]] = (),
    log_x: bool = False,
    log_y: bool = False,
    size: tuple[float, float] = (430, 300),
    most_ticks: int = 6,
) -> Chart | None:
    """Place data in a chart; None where there is nothing to draw. Logarithmic axes leave out what is not positive."""
    points = [p for p in points if (p.x > 0 or not log_x) and (p.y > 0 or not log_y)]
    lines = [
        Line(kept, line.style, line.label, line.step)
        for line in lines
        if (kept := [(x, y) for x, y in line.points if (x > 0 or not log_x) and (y > 0 or not log_y)])
    ]
    xs = [p.x for p in points] + [x for line in lines for x, _ in line.points]
    ys = [p.y for p in points] + [y for line in lines for _, y in line.points]
    if not xs:
        return None
    xs += [rule.at for rule in rules if rule.vertical]
    ys += [rule.at for rule in rules if not rule.vertical]
    ys += [end for p in points for end in (p.low, p.high) if end is not None and (end > 0 or not log_y)]
    (width, height), small = size, size[0] < 400
    labelled = any(rule.vertical for rule in rules)
    top, bottom = (12.0 if small else 14.0) + (16 if labelled else 0), height - (34 if small else 44)
    y = Scale.over(ys, bottom, top, log=log_y)
    left = 24 + 7.4 * max(len(tick.text) for tick in y.ticks(most_ticks))
    right = width - (10 if small else 14)
    x = Scale.over(xs, left, right, log=log_x)
    return Chart(
        key,
        title,
        summary,
        width,
        height,
        left,
        right,
        top,
        bottom,
        x_label,
        y_label,
        x.ticks(most_ticks),
        y.ticks(most_ticks),
        tuple(
            Mark(
                x(p.x),
                y(p.y),
                p.title,
                p.style,
                None if p.low is None else y(p.low),
                None if p.high is None else y(p.high),
            )
            for p in points
        ),
        tuple(Path(_path(line, x, y), line.style) for line in lines),
        _placed(rules, x, y),
        (
            *(Legend(style, text, False) for style, text in legend),
            *(Legend(line.style, line.label, True) for line in lines if line.label),
        ),
    )


def _path(line: Line, x: Scale, y: Scale) -> str:
    places = [(x(a), y(b)) for a, b in line.points]
    parts = [f"M{places[0][0]:g} {places[0][1]:g}"]
    for a, b in places[1:]:
        parts.append(f"H{a:g}V{b:g}" if line.step else f"L{a:g} {b:g}")
    return "".join(parts)


def _placed(rules: Sequence[Rule], x: Scale, y: Scale) -> tuple[PlacedRule, ...]:
    """Labels of vertical rules that would meet lie in several rows; those that still would are left out."""
    placed, ends = [], [float("-inf")] * 2
    for rule in sorted(rules, key=lambda rule: rule.at):
        place = x(rule.at) if rule.vertical else y(rule.at)
        if not rule.vertical:
            placed.append(PlacedRule(place, rule.label, 0, False))
            continue
        half = 3.6 * len(rule.label)
        row = next((k for k, end in enumerate(ends) if place - half > end), -1)
        if row >= 0:
            ends[row] = place + half + 4
        placed.append(PlacedRule(place, rule.label if row >= 0 else "", max(row, 0), True))
    return tuple(placed)
