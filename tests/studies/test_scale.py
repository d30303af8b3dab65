"""Scale: the growth's fit by hand, small measurements, and columns on a network of two convolutions."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import columns
import growth
import passes
import pytest
import scale
import seconds
import torch

from ranksearch.calibration import moments
from ranksearch.planning import CandidateConfig


def test_exponents_of_a_power_law() -> None:
    assert growth.exponent([2, 4, 8], [12, 48, 192]) == pytest.approx(2.0)


def test_growth_is_measured_step_by_step() -> None:
    row = growth.measure(2, 8)
    assert (row["layers"], row["width"]) == (2, 8)
    assert all(row[step] > 0 for step in growth.STEPS)


def test_passes_are_measured_either_way(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Path(passes.__file__)
    monkeypatch.setattr(sys, "argv", [str(script), "--blocks", "1", "--images", "4", "--batch-size", "2"])
    passes.main()
    before, after = capfd.readouterr().out.splitlines()
    assert before.startswith("freed memory given back: 0.0")
    assert after.endswith("page faults")


def test_deep_stacks_tell_images_apart() -> None:
    torch.manual_seed(0)
    images = torch.randn(8, 3, 16, 16)
    with torch.no_grad():
        outputs = growth.settled(growth.stack(64, 16), images)(images)
    assert float(outputs.std(0).min()) > 1e-3


def test_columns_take_the_place_of_a(own: list[str], tmp_path: Path) -> None:
    out = tmp_path / "columns.csv"
    common = [*own, "--calibration-size", "48", "--budgets", "0.6", "--out", str(out)]
    columns.main([*common, "--wide", "30", "--columns", "8,64"])
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["A"] for row in rows] == ["all of A", "8", "64"]
    assert len({row["divergence"] for row in rows}) > 1
    assert moments.WIDE == 1536


def test_layers_that_start_at_zero_are_drawn() -> None:
    zero, other = torch.nn.Linear(3, 2), torch.nn.Linear(2, 2)
    torch.nn.init.zeros_(zero.weight)
    kept = other.weight.clone()
    scale.drawn(torch.nn.Sequential(zero, other))
    assert zero.weight.any()
    assert torch.equal(other.weight, kept)


def test_seconds_of_the_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = seconds.measure(seconds.outputs(vocabulary=30, images=8), CandidateConfig(decompositions=("svd",)))
    assert row["together"] == pytest.approx(sum(row[step] for step in seconds.FIELDS[1:4]))
    assert all(row[step] > 0 for step in seconds.FIELDS[1:])
    out = tmp_path / "seconds.csv"
    seconds.main(["--cases", "resnet20,resnet50", "--out", str(out)])  # whose files are not given
    assert out.read_text().strip() == ",".join(seconds.FIELDS)
