"""Speed: its three commands, on a network of two convolutions and a runtime whose times are computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import speed

from ranksearch.planning import read_plan
from ranksearch.testing import PaperRuntime, registered


@pytest.fixture
def options(own: list[str], tmp_path: Path) -> list[str]:
    registered(PaperRuntime("layouts", extra=0.02))
    more = ["--runtime", "layouts", "--batch", "2", "--multiple", "1", "--calibration-size", "24"]
    return [*own, *more, "--out", str(tmp_path / "out")]


def rows(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]


def test_a_row_is_a_plan_that_meets_the_budget(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speed.main(["row", "--budget", "0.8", *options])
    (found,) = rows(tmp_path)
    assert found["time"] <= 0.8  # type: ignore[operator]
    assert found["low"] == found["time"] == found["high"]
    plan = read_plan(tmp_path / "out" / str(found["plan"]))
    assert plan.scores["time_predicted"] == found["predicted"]
    assert capsys.readouterr().out.startswith(f"| model | layouts | 2 | 0.8 | {found['time']:.3f} |")


def test_predictions_over_all_budgets(options: list[str], tmp_path: Path) -> None:
    speed.main(["predict", "--plans", "5", *options])
    (found,) = rows(tmp_path)
    pairs = found["pairs"]
    assert len(pairs) == 5  # type: ignore[arg-type]
    errors = sorted(abs(p - m) / m for p, m in pairs)  # type: ignore[attr-defined]
    assert found["error"] == pytest.approx(errors[2])
    assert found["spearman"] == pytest.approx(1.0)


def test_methods_are_compared_at_equal_time(options: list[str], tmp_path: Path) -> None:
    methods = ["ranksearch, time", "ranksearch, FLOPs", "aimet", "balf"]
    speed.main(["compare", "--budget", "0.8", *options, "--methods", *methods])
    found = rows(tmp_path)
    assert [one["method"] for one in found] == methods
    assert found[0]["behind"] == 0
    for one in found:
        assert one["time"] <= 0.8  # type: ignore[operator]
        assert 0 <= one["accuracy"] <= 100  # type: ignore[operator]
