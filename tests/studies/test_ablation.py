"""What helps in fine-tuning: every variant on a network of two convolutions."""

from __future__ import annotations

import json
from pathlib import Path

import ablation
import pytest
import torch
from torch import nn

from ranksearch.compression.training import FinetuneConfig


def test_every_variant_runs_and_none_twice(
    own: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "MATCHING", FinetuneConfig(feature_weight=1.0))
    out = tmp_path / "out"
    common = [*own, "--out", str(out), "--budget", "0.6", "--calibration-size", "48"]
    assert ablation.main([*common, "--steps", "2"]) == 0
    before = (out / "ablation.jsonl").read_text()
    rows = [json.loads(line) for line in before.splitlines()]
    assert [row["variant"] for row in rows] == ["none", *ablation.VARIANTS]
    # The network has no blocks: the three variants with features are like those without.
    assert len({row["divergence"] for row in rows}) == len(rows) - 3
    assert ablation.main([*common, "--steps", "2"]) == 0
    assert (out / "ablation.jsonl").read_text() == before
    assert ablation.main([*common, "--epochs", "1", "--only", "default"]) == 0
    assert "### 0.6 of the parameters, 2 steps" in (out / "results.md").read_text()


def test_unbalancing_keeps_what_a_chain_computes() -> None:
    torch.manual_seed(0)
    chain = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(2, 4, 3))
    model = nn.Sequential(chain, nn.ReLU())
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        before = model(x)
        ablation.unbalance(model)
        torch.testing.assert_close(model(x), before)
    assert chain[0].weight.norm().item() == pytest.approx(1.0)


def test_frozen_norms_keep_their_statistics() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    ablation.freeze_norms(model)
    model.train()(torch.randn(4, 3, 5, 5) + 2)
    assert float(model[0].running_mean.abs().max()) == 0
