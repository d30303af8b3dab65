"""The study's results as Markdown: networks, comparisons, claims, tensor-train orders, how well the score predicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import advised
import claims

from ranksearch.probing import ProbeRecord
from ranksearch.probing.rows import Row

NUCLEAR = "-nuclear"
"""What names of networks end with whose training penalised the nuclear norm."""


@dataclass(frozen=True)
class Result:
    """What is known of one network. high: the part of its images' spectral energy beyond half the Nyquist frequency;
    reached: on all test images, its dense accuracy and that of a run at 0.2, where there was one."""

    name: str
    model: str
    high: float
    record: ProbeRecord
    rows: tuple[Row, ...]
    reached: tuple[float, float] | None
    orders: dict[str, Any]


def write(
    out: Path, results: Sequence[Result], advice: Sequence[tuple[str, list[advised.Reached]]] = ()
) -> None:
    """Write results.md; `advice` are the runs with each piece of it, by network."""
    parts = ["\n".join(networks(results)), "\n".join(frequency_table(results))]
    parts += ["\n".join(lines)] if (lines := list(nuclear_table(results))) else []
    parts += ["\n".join(advised.table(name, found)) for name, found in advice]
    parts += ["\n".join(claims_overview(results))] if len(results) > 1 else []
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
        yield f"| {r.name} | {dense.params:,} | {accuracy} | {score} | {trouble} | {spare} | {_reached(r)} |"
    known = [
        (r.record.verdict.score, r.reached[1] - r.reached[0])
        for r in results
        if r.reached and r.record.verdict
    ]
    if len(known) >= 3:
        rho, _ = claims.rank_correlation([s for s, _ in known], [d for _, d in known])
        yield f"\nSpearman of score and accuracy lost at 0.2, over {len(known)} networks: {rho:.2f}"


def frequency_table(results: Sequence[Result]) -> Iterator[str]:
    """High-frequency content of the images beside the sensitivity of early and of deep layers; for the networks of one
    architecture and plain training, from three on, the rank correlation of the two."""
    yield "## Does the sensitivity of early layers follow high frequencies?\n"
    yield f"Points of accuracy lost at {1 - claims.STRONG:.0%} of a kernel's norm, means over layers and cuts.\n"
    yield "| network | energy beyond half the Nyquist frequency | first third | last third | difference |"
    yield "| --- | --- | --- | --- | --- |"
    known: dict[str, list[tuple[float, float]]] = {}
    for r in results:
        order, dense = [x.name for x in r.record.layers if x.reason is None], r.record.dense.accuracy
        if dense is None or dense.mean is None or len(order) < 3:
            yield f"| {r.name} | {r.high:.1%} | – | – | – |"
            continue
        early, late = claims.thirds(r.rows, dense.mean, order)
        if not r.name.endswith(
            NUCLEAR
        ):  # what its training did to the kernels has nothing to do with the images
            known.setdefault(r.model, []).append((r.high, early - late))
        yield f"| {r.name} | {r.high:.1%} | {early:.1f} | {late:.1f} | {early - late:+.1f} |"
    for model, found in known.items():
        if len(found) >= 3:
            rho, p = claims.rank_correlation([x for x, _ in found], [y for _, y in found])
            name = model.rpartition(":")[2]
            yield f"\nSpearman of energy and difference, over {len(found)} networks `{name}`: {rho:+.2f} (p = {p:.2g})"


def nuclear_table(results: Sequence[Result]) -> Iterator[str]:
    """Training with a penalty on the nuclear norm against plain training, where there are both."""
    by_name = {r.name: r for r in results}
    pairs = [(by_name[n.removesuffix(NUCLEAR)], r) for n, r in by_name.items()
             if n.endswith(NUCLEAR) and n.removesuffix(NUCLEAR) in by_name]  # fmt: skip
    if not pairs:
        return
    yield "## Does a penalty on the nuclear norm pay?\n"
    yield "| network | dense | score | a run at 0.2 |"
    yield "| --- | --- | --- | --- |"
    for r in (r for pair in pairs for r in pair):
        dense, verdict = r.record.dense.accuracy, r.record.verdict
        accuracy = "–" if dense is None or dense.mean is None else f"{dense.mean:.1f}"
        score = "–" if verdict is None else f"{verdict.score:.2f}"
        yield f"| {r.name} | {accuracy} | {score} | {_reached(r)} |"


def _reached(result: Result) -> str:
    """What a run reached, and what it lost, on all test images."""
    if result.reached is None:
        return "not measured"
    dense, compressed = result.reached
    return f"{compressed:.2f} ({compressed - dense:+.2f})"


def claims_overview(results: Sequence[Result]) -> Iterator[str]:
    """Which networks bear out each of the paper's claims."""
    verdicts: dict[str, dict[bool, list[str]]] = {}
    for r in results:
        for found in claims.findings(r.record, r.rows):
            verdicts.setdefault(found.claim, {True: [], False: []})[found.holds].append(r.name)
    yield "## The paper's claims over all networks\n"
    yield "| claim | confirmed | not confirmed |"
    yield "| --- | --- | --- |"
    for claim, names in verdicts.items():
        cells = [f"{len(own)}: {', '.join(own)}" if own else "none" for own in (names[True], names[False])]
        yield f"| {claim} | {' | '.join(cells)} |"


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
