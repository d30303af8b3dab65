"""How a run ends: what each model was before and is now, and the layers that changed most."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from ranksearch.costs import briefly, is_measured, unit_of
from ranksearch.planning import DENSE, PlanRecord

MOST = 3
"""Layers that are named."""


def closing_lines(records: Sequence[PlanRecord]) -> Iterator[str]:
    """A line per model, and one about the layers of the smallest."""
    for record in records:
        yield f"budget {record.asked}{record.of_part}: {', '.join(_changes(record))}"
    if records and (changed := changed_most(records[-1])):
        yield f"layers that shrank most at budget {records[-1].asked}: {', '.join(changed)}"


def _changes(record: PlanRecord) -> Iterator[str]:
    """`93.5k → 28k parameters (−70%)`, then bytes, time and the task metric, as far as they are known."""
    if record.part is not None:
        own = record.metric
        before, after = (record.counted(own, amounts[own]) for amounts in (record.dense, record.cost))
        yield _change(own, before, after, record.of_part)
    metrics = dict.fromkeys((record.metric, "params"))
    for metric in (name for name in metrics if name in record.cost and not is_measured(name)):
        yield _change(metric, record.dense[metric], record.cost[metric])
    if (taken := record.footprint) is not None:
        yield f"{taken.dense.bytes / 1e6:.3g} → {taken.compressed.bytes / 1e6:.3g} MB"
        if (time := taken.time) is not None:
            yield f"{1e3 * time.dense_seconds:.3g} → {1e3 * time.seconds:.3g} ms"
    for role in ("test", "validation"):
        found = record.behaviour.get(role)
        if found is not None and found.dense is not None and found.delivered is not None:
            yield f"{found.metric} {found.dense:.2f} → {found.delivered:.2f} ({role})"
            return


def _change(metric: str, before: int, after: int, of_part: str = "") -> str:
    cut = f" (−{1 - after / before:.0%})" if 0 < after <= before else ""
    return f"{briefly(metric, before)} → {briefly(metric, after)} {unit_of(metric)}{of_part}{cut}"


def changed_most(record: PlanRecord) -> list[str]:
    """The layers that lost most parameters, and which part of theirs that is: `10 by 88% (cp 32)`."""
    factorised = [layer for layer in record.layers if layer.decomposition != DENSE]
    saved = {layer.name: prod(layer.shape) - layer.cost["params"] for layer in factorised}
    factorised.sort(key=lambda layer: -saved[layer.name])
    return [
        f"{layer.name} by {saved[layer.name] / prod(layer.shape):.0%} "
        f"({layer.decomposition} {'×'.join(map(str, layer.ranks))})"
        for layer in factorised[:MOST]
        if saved[layer.name] > 0
    ]
