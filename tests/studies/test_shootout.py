"""The shoot-out's parts, and a whole one on a network of two convolutions."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import report
import shootout
from cells import Cell, Store, pack, unpack
from methods import METHODS, variants
from stats import paired

from ranksearch.errors import InputError
from ranksearch.searching.baselines import ALLOCATORS

# ---- parts ----


def test_correctness_survives_packing() -> None:
    for count in (1, 7, 8, 9, 100):
        hits = np.random.default_rng(count).random(count) < 0.5
        packed = json.loads(json.dumps(pack(hits)))
        assert unpack(packed).tolist() == hits.tolist()


def test_paired_difference_by_hand() -> None:
    reference = {0: np.array([True, True, False, False])}
    other = {0: np.array([True, False, False, False])}
    # Differences 0, −100, 0, 0: mean −25, variance 2500 over 4 images, standard error 25.
    found = paired(other, reference)
    assert found is not None
    assert (found.mean, found.seeds) == (-25, 1)
    # Three degrees of freedom: t = 3.182446.
    assert found.half == pytest.approx(3.182446 * 25, rel=1e-6)
    assert str(found) == "-25.00 ± 79.56"
    many = {0: np.tile(reference[0], 2500)}
    found = paired({0: np.tile(other[0], 2500)}, many)
    assert found is not None
    assert found.half == pytest.approx(1.96 * 43.3 / 100, rel=1e-3)
    assert str(paired(many, many)) == "+0.00 ± 0.00"


def test_seeds_widen_the_interval_by_what_differs_between_them() -> None:
    truth = np.array([True, True, False, False])
    reference = {0: truth, 1: truth, 2: truth}
    other = {0: np.array([True, False, False, False]), 1: truth, 5: truth}
    # Per image over seeds 0 and 1: 0, −50, 0, 0: variance 625 over 4 images. Per seed −25 and 0: 312.5 over 2.
    found = paired(other, reference)
    assert found is not None
    assert (found.mean, found.seeds) == (-12.5, 2)
    # Both parts are 156.25, with 3 and 1 degrees of freedom: together 312.5² / (156.25² / 3 + 156.25²) = 3.
    assert found.half == pytest.approx(3.182446 * 312.5**0.5, rel=1e-6)
    assert paired({7: truth}, reference) is None


def test_every_baseline_takes_part() -> None:
    assert set(METHODS) - {"ranksearch", "ranksearch_search", "ranksearch_finetune"} == set(ALLOCATORS) - {
        "knapsack"
    }
    assert variants("ranksearch") == ("ours",)
    assert variants("alds") == ("published", "ours")
    with pytest.raises(InputError, match="--methods: expected ranksearch or"):
        variants("best")


def test_the_strongest_rows_have_all_budgets(tmp_path: Path) -> None:
    store, cells = Store(tmp_path, {}), []
    # c lacks a budget; d is b under another name.
    every = (("a", (0.2, 0.1), 3), ("b", (0.2, 0.1), 5), ("c", (0.2,), 9), ("d", (0.2, 0.1), 5))
    for method, budgets, right in every:
        for budget in budgets:
            cell = Cell(method, "ours", budget, "params", 0)
            cells.append(cell)
            record = {"method": method, "variant": "ours", "budget": budget, "seed": 0, "metric": "params"}
            store.write("cells", cell.name, {**record, "correct": pack(np.arange(10) < right)})
    assert report.strongest(store, cells, [0.2, 0.1]) == [("b", "ours"), ("a", "ours")]


def test_another_setup_is_refused(tmp_path: Path) -> None:
    Store(tmp_path, {"trials": 40})
    with pytest.raises(InputError, match=r"trials of .*: expected 40, got 3"):
        Store(tmp_path, {"trials": 3})


# ---- the whole ----


def records(out: Path, kind: str) -> dict[str, Any]:
    """As the store keeps them, by name."""
    return dict(json.loads(line) for line in (out / f"{kind}.jsonl").read_text().splitlines())


@pytest.fixture
def run(own: list[str], tmp_path: Path) -> Callable[..., int]:
    def call(*more: str) -> int:
        return shootout.main(
            [
                *(*own, "--out", str(tmp_path / "out")),
                *("--trials", "3", "--calibration-size", "48", "--budgets", "0.6", "--metrics", "params"),
                *more,
            ]
        )

    return call


def test_a_shoot_out_is_resumed_and_reported(run: Callable[..., int], tmp_path: Path) -> None:
    methods = ("--methods", "ranksearch,ranksearch_search,alds,evbmf", "--seeds", "0,1")
    assert run(*methods) == 0
    out = tmp_path / "out"
    cells = records(out, "cells")
    assert len(cells) == 2 * (2 + 2 * 2)
    for record in cells.values():
        assert record["fraction"] <= 0.6
        assert record["correct"]["count"] == 40
        assert record["accuracy"] == pytest.approx(100 * unpack(record["correct"]).mean())
        # Three trials, and up to two plans beside the study.
        most = 5 if record["method"] == "ranksearch_search" else 0
        assert most / 5 <= record["evaluations"] <= most
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert len(rows) == len(cells)
    assert {row["variant"] for row in rows} == {"published", "ours"}
    assert len({row["accuracy"] for row in rows}) > 1
    text = (out / "results.md").read_text()
    assert "`alds` | published" in text
    assert " ± " in text
    assert all(
        line.endswith("| 2 |") for line in text.splitlines() if line.startswith("| `alds`") and "<br>" in line
    )

    # The same again, with fine-tuning: no cell is measured anew.
    assert run(*methods, "--finetune-steps", "2", "--finetune-budgets", "0.6") == 0
    assert records(out, "cells") == cells
    answers: dict[tuple[str, str], dict[int, str]] = {}
    for record in cells.values():
        own = answers.setdefault((record["method"], record["variant"]), {})
        own[record["seed"]] = record["correct"]["bits"]
    distinct = {tuple(sorted(own.items())) for own in answers.values()}
    assert len(records(out, "finetuned")) == 2 * min(5, len(distinct))
    assert "after 2 steps of fine-tuning" in (out / "results.md").read_text()

    # A cell that was lost is measured again, to the same result.
    lost = "alds-published-params-0.6-seed1"
    lines = (out / "cells.jsonl").read_text().splitlines(keepends=True)
    (out / "cells.jsonl").write_text("".join(line for line in lines if lost not in line))
    assert run(*methods) == 0
    after = records(out, "cells")[lost]
    for key in ("choice", "accuracy", "correct", "divergence", "fraction"):
        assert after[key] == cells[lost][key]


@pytest.mark.parametrize(("method", "least", "most"), [("ranksearch_finetune", 2, 9), ("optuna_tpe", 1, 3)])
def test_evaluations_of_methods_that_run_the_model(
    run: Callable[..., int], tmp_path: Path, method: str, least: int, most: int
) -> None:
    assert run("--methods", method, "--variants", "ours", "--seeds", "0") == 0
    record = records(tmp_path / "out", "cells")[f"{method}-ours-params-0.6-seed0"]
    assert least <= record["evaluations"] <= most
    assert record["seconds_choose"] > 0


def test_a_budget_that_cannot_be_met_is_recorded(run: Callable[..., int], tmp_path: Path) -> None:
    assert run("--methods", "lc", "--seeds", "0", "--budgets", "0.01") == 0
    record = records(tmp_path / "out", "cells")["lc-ours-params-0.01-seed0"]
    assert record["infeasible"].startswith("budget: expected at least")


def test_tables_and_plots(run: Callable[..., int], tmp_path: Path) -> None:
    assert run("--methods", "ranksearch,uniform", "--variants", "ours", "--seeds", "0") == 0
    assert (tmp_path / "out" / "results.md").is_file()
    assert (tmp_path / "out" / "accuracy-params.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_told(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--methods", "best") == 2
    assert "--methods: expected" in capsys.readouterr().err
    assert run("--metrics", "ms") == 2
    assert "--metrics: expected params or flops, got 'ms'" in capsys.readouterr().err
