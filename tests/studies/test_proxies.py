"""How well cheap scores rank plans: the script on a network of two convolutions, and its table by hand."""

from __future__ import annotations

import json
from pathlib import Path

import proxies
import pytest


def test_it_goes_on_where_it_was(own: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    common = [*own, "--out", str(out), "--budget", "0.6", "--steps", "2", "--unseen", "8"]
    common += ["--calibration-size", "48"]
    assert proxies.main([*common, "--plans", "1"]) == 0
    first = (out / "proxies.jsonl").read_text().splitlines()
    assert proxies.main([*common, "--plans", "3"]) == 0
    lines = (out / "proxies.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert lines[:1] == first
    assert 1 < len({tuple(row["choice"]) for row in rows}) == len(rows) <= 3
    assert all(set(row["scores"]) == set(proxies.SCORES) for row in rows)
    assert f"{len(rows)} plans of {len(rows)}" in (out / "results.md").read_text()


def row(divergence: float, after: tuple[float, float]) -> dict[str, object]:
    return {"scores": dict.fromkeys(proxies.SCORES, divergence), "after": list(after)}


def test_correlations_are_those_of_plans_near_the_best() -> None:
    """Four plans whose divergence ranks them as their accuracies do, and one too far away to count."""
    rows = [
        row(0.1, (90, 91)),
        row(0.12, (88, 88)),
        row(0.15, (87, 87)),
        row(0.2, (86, 86)),
        row(0.3, (99, 99)),
    ]
    text = proxies.table(rows, steps=7)
    assert "4 plans of 5" in text
    assert "test–retest correlation of two fine-tunes 1.00" in text
    lines = [line for line in text.splitlines() if line.startswith("| divergence, quick fits |")]
    assert lines == ["| divergence, quick fits | 0.1 to 0.2 | 1.00 | 1.00 |"]
    assert "ends at 90.50, 0 of 3 others above it" in text


def test_the_order_counts() -> None:
    assert proxies.spearman([1, 2, 3, 4], [10, 20, 40, 30]) == pytest.approx(0.8)
