"""Promises on unseen images: the script on a network of two convolutions, and its table by hand."""

from __future__ import annotations

import json
from pathlib import Path

import promises
import pytest
import torch

from ranksearch.costs import Kept


def test_models_are_made_once_for_all_seeds(
    own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    common = [*own, "--out", str(out), "--calibration-size", "48", "--deciding", "28", "--max-drop", "70"]
    assert promises.main([*common, "--splits", "2"]) == 0
    models = (out / "models.jsonl").read_text()
    rows = [json.loads(line) for line in (out / "splits.jsonl").read_text().splitlines()]
    assert [(row["seed"], row["deciding"], row["unseen"]) for row in rows] == [(0, 28, 28), (1, 28, 28)]
    assert all(row["held"] == (row["unseen_drop"] <= 70) for row in rows)
    monkeypatch.setattr(promises, "compress", lambda *_, **__: 1 / 0)
    assert promises.main([*common, "--splits", "2"]) == 0
    assert (out / "models.jsonl").read_text() == models


def test_the_rest_of_the_images_says_whether_it_held() -> None:
    dense = torch.full((1000,), 100.0)

    def scores(kept: Kept) -> torch.Tensor:
        found = dense.clone()
        found[: int(30 / (kept.fraction or 1))] = 0.0
        return found

    curve = [(0.1, 1.0), (0.5, 0.1), (0.9, 0.01)]
    row = promises.one_split(dense, scores, curve, seed=3, deciding=600, max_drop=10.0)
    assert (row["deciding"], row["unseen"], row["kept"]) == (600, 400, True)
    lost = int(30 / float(row["budget"]))
    assert 6 * row["drop"] + 4 * row["unseen_drop"] == pytest.approx(lost)


def test_the_table() -> None:
    def row(budget: str, kept: bool, unseen: float) -> dict[str, object]:
        return {
            "deciding": 500, "max_drop": 1.0, "budget": budget, "kept": kept, "unseen_drop": unseen,
            "held": unseen <= 1.0,
        }  # fmt: skip

    text = promises.table([row("0.4", True, 0.5), row("0.6", True, 1.5), row("0.9", False, 3.0)])
    assert text.splitlines()[-1] == "| 500 | 1 | 2 of 3 | 0.5 | 0.4 to 0.6 | 1.00 | 1.50 | 1 of 2 |"
