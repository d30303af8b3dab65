"""What stages add: the script on a network of two convolutions, and its table by hand."""

from __future__ import annotations

import json
from pathlib import Path

import stages


def test_it_goes_on_where_it_was(own: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    common = [*own, "--out", str(out), "--budgets", "0.6", "--n-trials", "5", "--finetune-trials", "2"]
    common += ["--calibration-size", "48", "--epochs", "1"]
    assert stages.main([*common, "--seeds", "0"]) == 0
    first = (out / "stages.jsonl").read_text().splitlines()
    assert stages.main([*common, "--seeds", "0,1"]) == 0
    lines = (out / "stages.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert lines[:3] == first
    assert [(row["seed"], row["stage"]) for row in rows] == [
        (s, name) for s in (0, 1) for name in stages.STAGES
    ]
    for one in rows:
        same = [row["test"] for row in rows if (row["seed"], row["plan"]) == (one["seed"], one["plan"])]
        assert set(same) == {one["test"]}, "one plan of a seed is delivered once"
    assert "### 0.6 of the parameters" in (out / "stages.md").read_text()


def row(seed: int, stage: str, test: float) -> stages.Row:
    return {"seed": seed, "budget": 0.2, "stage": stage, "test": test, "factorised": 0.2, "delivered": 0.1}


def test_gains_are_paired_by_seed() -> None:
    """Seeds differ by ten points; the gains, 1 and 2, have a mean of 1.5 and t(0.975, 1) · 0.5 = 6.35 beside it."""
    rows = [row(0, "analytic", 70), row(0, "search", 71), row(0, "finetune", 70)]
    rows += [row(1, "analytic", 80), row(1, "search", 82), row(1, "finetune", 80)]
    text = "\n".join(stages.tables(rows))
    assert "| analytic plan | 70.00 | 80.00 | 75.00 |  | 0.200, 0.100 |" in text
    assert "| + search | 71.00 | 82.00 | 76.50 | +1.50 ± 6.35 | 0.200, 0.100 |" in text
    assert "| + fine-tune stage | 70.00 | 80.00 | 75.00 | +0.00 ± 0.00 | 0.200, 0.100 |" in text


def test_seeds_that_lack_a_stage_wait() -> None:
    rows = [row(0, stage, 80) for stage in stages.STAGES] + [row(1, "analytic", 81)]
    assert "seed 1" not in "\n".join(stages.tables(rows))
