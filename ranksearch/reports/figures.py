"""Numbers as a page shows them, and round values for axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
NOTHING = "–"


def figure(value: float | None, digits: int = 3) -> str:
    """`0.0123`, `5.2×10⁻⁵`, `–` for None."""
    if value is None:
        return NOTHING
    text = f"{value:.{digits}g}"
    mantissa, e, exponent = text.partition("e")
    if e and 0 <= int(exponent) < 6:
        return f"{value:,.0f}"
    text = f"{mantissa}×10{str(int(exponent)).translate(_RAISED)}" if e else text
    return text.replace("-", "−")


def share(part: float, whole: float) -> str:
    """`20.0 %`, and `–` of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else NOTHING


def estimate(mean: float | None, stderr: float | None) -> str:
    """`87.99 ± 0.33`, as far as it is known."""
    if mean is None:
        return NOTHING
    text = f"{mean:.2f}" if stderr is None else f"{mean:.2f} ± {stderr:.2f}"
    return text.replace("-", "−")


def signed(value: float | None) -> str:
    """`+0.40`, `−1.20`, `0.00`."""
    if value is None:
        return NOTHING
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else text.replace("-", "−")


def seconds(value: float) -> str:
    """`42 s`, `3 min 10 s`, `2 h 5 min`."""
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, left = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {left} s"


def even_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that lie between two values."""
    span = high - low
    if span <= 0:
        return [low]
    power = 10.0 ** floor(log10(span / most))
    step = next(k * power for k in (1, 2, 5, 10, 20) if span / (k * power) <= most)
    return [k * step for k in range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Powers of ten between two positive values, or 1, 2 and 5 times them where they are few."""
    first, last = floor(log10(low)), ceil(log10(high))
    every = max(1, ceil((last - first) / most))
    powers = [10.0**k for k in range(first, last + 1) if k % every == 0]
    finer = [m * 10.0**k for k in range(first, last + 1) for m in (1, 2, 5)]
    tens, fine = ([x for x in some if low * 0.999 <= x <= high * 1.001] for some in (powers, finer))
    if len(tens) >= 3 or (len(tens) == 2 and len(fine) > most + 1):
        return tens
    return fine if len(fine) >= 2 else even_ticks(low, high, 4)


def tick_texts(values: Sequence[float], *, log: bool) -> list[str]:
    """`10⁻³` on an axis of nothing but powers that leave the usual range, else plain numbers."""
    exponents = [round(log10(value), 9) if log and value > 0 else 0.5 for value in values]
    if all(x == int(x) for x in exponents) and (min(exponents) < -2 or max(exponents) > 4):
        return [f"10{str(int(x)).translate(_RAISED)}" for x in exponents]
    return [_tick_text(value) for value in values]


def _tick_text(value: float) -> str:
    value = float(f"{value:.6g}")
    if value and abs(value) < 1e-3:
        power = floor(log10(abs(value)))
        text = f"{value / 10.0**power:.3g}×10{str(power).translate(_RAISED)}"
        return text.removeprefix("1×").replace("-", "−")
    return f"{value:,.6g}".replace("-", "−")
