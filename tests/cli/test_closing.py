"""What a run says last: before → after, and the layers that shrank most."""

from __future__ import annotations

from math import prod
from pathlib import Path

from typer.testing import Result

from ranksearch.cli.closing import changed_most, closing_lines
from ranksearch.planning import read_plan


def test_before_and_after_are_those_of_the_record(finished_run: tuple[Path, Result]) -> None:
    path, result = finished_run
    records = [read_plan(path / "compressed" / asked / "plan.json") for asked in ("0.6", "0.4")]
    lines = [*closing_lines(records)]
    assert len(lines) == 3
    for line, record in zip(lines, records, strict=False):
        assert f"{record.dense['params']:,} → {record.cost['params']:,} parameters" in line or "k" in line
        assert f"(−{1 - record.cost['params'] / record.dense['params']:.0%})" in line
        found = record.behaviour["test"]
        assert f"top-1 % {found.dense:.2f} → {found.delivered:.2f} (test)" in line
    assert lines[-1].startswith("layers that shrank most at budget 0.4: ")
    for line in lines:
        assert line in result.stdout


def test_layers_are_ordered_by_what_they_lost(finished_run: tuple[Path, Result]) -> None:
    record = read_plan(finished_run[0] / "compressed" / "0.4" / "plan.json")
    named = [line.partition(" by ")[0] for line in changed_most(record)]
    lost = {layer.name: prod(layer.shape) - layer.cost["params"] for layer in record.layers}
    assert named == sorted(named, key=lambda name: -lost[name])
    assert lost[named[0]] == max(
        lost[layer.name] for layer in record.layers if layer.decomposition != "dense"
    )


def test_what_was_not_measured_is_not_said(finished_run: tuple[Path, Result]) -> None:
    record = read_plan(finished_run[0] / "compressed" / "0.4" / "plan.json")
    bare = record.model_copy(update={"footprint": None, "behaviour": {}, "layers": ()})
    (line,) = closing_lines([bare])
    assert "MB" not in line
    assert "top-1" not in line
    assert [*closing_lines([])] == []
