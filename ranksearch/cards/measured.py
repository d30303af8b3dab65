"""What was measured of a delivered model beside its costs and its task metric: footprint, behaviour, key figures."""

from __future__ import annotations

from collections.abc import Iterator

from ranksearch.cards.content import Content
from ranksearch.cards.markdown import code, items, plain, table
from ranksearch.planning import (
    BehaviourRecord,
    CriterionRecord,
    FootprintRecord,
    PredictionsRecord,
    PromiseRecord,
)

WORST = 3
"""Classes that are named."""


def footprint(found: FootprintRecord) -> str:
    """Bytes, memory and time before and after, and what the time holds for."""
    dense, compressed, time = found.dense, found.compressed, found.time
    rows = [("tensors in the weights file, MB", _megabytes(dense.bytes), _megabytes(compressed.bytes))]
    if dense.activation_bytes is not None and compressed.activation_bytes is not None:
        before, after = _megabytes(dense.activation_bytes), _megabytes(compressed.activation_bytes)
        rows.append((f"memory for activations, batch {found.batch}, MB", before, after))
    if time is None:
        return table(("", "dense", "compressed"), rows)
    rows.append(
        ("time of a forward pass, ms", f"{1e3 * time.dense_seconds:.3g}", f"{1e3 * time.seconds:.3g}")
    )
    threads = "one thread" if time.threads == 1 else f"{time.threads} threads"
    return (
        f"{table(('', 'dense', 'compressed'), rows)}\n\n"
        f"The compressed model takes {time.ratio:.2f} ({time.low:.2f} to {time.high:.2f}) of the dense model's time, "
        f"measured in turns: {plain(time.runtime)} {plain(time.version)}, batch {time.batch}, {threads}, "
        f"{plain(time.processor)}."
    )


def behaviour(role: str, found: BehaviourRecord) -> str:
    """The drop with its interval, and what became of a classifier's predictions."""
    parts = []
    if (drop := found.drop) is not None and drop.low is not None and drop.high is not None:
        parts.append(
            f"On the {found.examples:,} examples of {plain(role)}, {plain(found.metric)} drops by {drop.mean:.2f} "
            f"({drop.low:.2f} to {drop.high:.2f}, paired 95 % interval)."
        )
    if found.predictions is not None:
        parts.append(_predictions(found.predictions))
    return " ".join(parts)


def _predictions(found: PredictionsRecord) -> str:
    text = (
        f"{100 * found.flips:.2f} % of the predictions changed. The expected calibration error is {found.ece:.3f}, "
        f"before it was {found.dense_ece:.3f}."
    )
    worst = [x for x in found.classes[:WORST] if x.drop > 0]
    if not worst:
        return text
    named = ", ".join(
        f"{code(x.name if x.name is not None else str(x.number))} ({x.drop:.1f} points of {x.examples:,} examples)"
        for x in worst
    )
    return f"{text} These classes lost most: {named}."


def key_figures(content: Content) -> str:
    """Whether what was fixed beforehand is met."""
    promise, criteria = content.record.promise, content.record.criteria
    parts = [] if promise is None else [_promise(promise, content.record.asked)]
    if criteria:
        headings = ("figure", "asked", "measured", "on", "")
        parts.append(table(headings, _criteria(criteria)))
    return "\n\n".join(parts)


def _promise(found: PromiseRecord, asked: str) -> str:
    bounds = [look.bound for look in found.looks if look.asked == asked and look.bound is not None]
    bound = f" The upper bound of the drop is {bounds[0]:.2f}." if bounds else ""
    kept = "It is kept" if found.kept else "It is **not** kept"
    lines = [
        f"Promise: a drop of at most {found.max_drop:g} on the validation data, with {100 * found.confidence:g} % "
        f"confidence over all budgets that were tried. {kept}.{bound}"
    ]
    if found.held_on_test is not None:
        lines.append(f"On the test data the drop is {'within' if found.held_on_test else '**above**'} it.")
    return items(lines)


def _criteria(found: tuple[CriterionRecord, ...]) -> Iterator[tuple[str, ...]]:
    for each in found:
        measured = "–" if each.measured is None else f"{each.measured:.4g}"
        asked = f"{plain(each.relation)} {plain(each.asked)}"
        yield code(each.name), asked, measured, plain(each.on), "pass" if each.passed else "**fail**"


def _megabytes(amount: int) -> str:
    return f"{amount / 1e6:.3g}"
