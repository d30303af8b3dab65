"""The study's results as Markdown: networks, claims, tensor-train orders, and how well the score predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import claims

from ranksearch.probing.record import ProbeRecord
from ranksearch.probing.rows import Row


@dataclass(frozen=True)
class Result:
    """What is known of one network. reached: its dense accuracy and that of a run at 0.2, where there was one."""

    name: str
    record: ProbeRecord
    rows: tuple[Row, ...]
    reached: tuple[float, float] | None
    orders: dict[str, Any]


def write(out: Path, results: Sequence[Result]) -> None:
    """Write results.md."""
    parts = ["\n".join(networks(results))]
    parts += ["\n".join(claims_table(r)) for r in results]
    parts += ["\n".join(orders_table(r)) for r in results if r.orders["kernels"]]
    (out / "results.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def networks(results: Sequence[Result]) -> Iterator[str]:
    """A line per network, and the rank correlation of score and what runs reach, from three networks on."""
    yield "## Networks\n"
    yield "| network | parameters | dense | score | trouble at | leave alone | a run at 0.2 |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for r in results:
        verdict, dense = r.record.verdict, r.record.dense
        accuracy = (
            "–" if dense.accuracy is None or dense.accuracy.mean is None else f"{dense.accuracy.mean:.1f}"
        )
        score = "–" if verdict is None else f"{verdict.score:.2f}"
        trouble = "–" if verdict is None else f"{verdict.trouble.budget:.2f}"
        spare = "–" if verdict is None else ", ".join(verdict.spare) or "none"
        reached = "not measured" if r.reached is None else f"{r.reached[1]:.2f}"
        yield f"| {r.name} | {dense.params:,} | {accuracy} | {score} | {trouble} | {spare} | {reached} |"
    known = [
        (r.record.verdict.score, r.reached[1] - r.reached[0])
        for r in results
        if r.reached and r.record.verdict
    ]
    if len(known) >= 3:
        rho, _ = claims.rank_correlation([s for s, _ in known], [d for _, d in known])
        yield f"\nSpearman of score and accuracy lost at 0.2, over {len(known)} networks: {rho:.2f}"


def claims_table(result: Result) -> Iterator[str]:
    """The paper's claims on one network."""
    yield f"## The paper's claims on {result.name}\n"
    yield "| claim | measured | |"
    yield "| --- | --- | --- |"
    for found in claims.findings(result.record, result.rows):
        measured = found.measured.replace("|", r"\|")  # o|ihw would end the cell
        yield f"| {found.claim} | {measured} | {'confirmed' if found.holds else 'not confirmed'} |"


def orders_table(result: Result) -> Iterator[str]:
    """Tensor-train orders on one network."""
    found = result.orders
    yield f"## Tensor-train orders on {result.name}\n"
    yield (
        f"{found['kernels']} kernels of four indices, together {found['dense']:,} numbers; the cheapest ranks that "
        f"promise a relative error of {found['error']:g} in each.\n"
    )
    yield "| order | plain convolutions | entropies along it, summed | numbers stored | cheapest for |"
    yield "| --- | --- | --- | --- | --- |"
    for row in found["orders"]:
        plain = "yes" if row["plain"] else "no"
        share = f"{row['params']:,} ({row['params'] / found['dense']:.0%})"
        yield f"| {row['order']} | {plain} | {row['entropy']:.2f} | {share} | {row['cheapest']} kernels |"
    yield (
        f"\nThe best order of each kernel takes {found['best']:,} numbers, the better plain one "
        f"{found['best_plain']:,}: {found['best_plain'] / found['best']:.2f} times as many."
    )
