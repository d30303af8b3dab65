"""A run that is killed again and again ends with the plan and the model of an undisturbed one."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from ranksearch.cli.run import run_command
from ranksearch.runs import RunFolder

KILLS = 10


@pytest.fixture
def start() -> Callable[..., Any]:
    """Starts a run in a process of its own that has everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ranksearch.runs.run", "ranksearch.cli.tables"])

    def start(**given: object) -> Any:
        process = context.Process(target=run_command, args=(None, given))
        process.start()
        return process

    return start


def delivered(path: Path, budget: str) -> list[bytes]:
    folder = RunFolder(path)
    out = folder.compressed(budget)
    record = json.loads((out / "plan.json").read_text())
    assert record["footprint"].pop("time")["ratio"] > 0  # times differ each time
    files = (folder.plan(budget), out / "model.safetensors", folder.splits)
    return [json.dumps(record).encode(), *(file.read_bytes() for file in files)]


def test_killed_at_ten_random_points(
    own_folder: Path, tmp_path: Path, start: Callable[..., Any], run: Callable[..., Result]
) -> None:
    own = own_folder / "own.py"
    options = {
        "model": f"{own}:model", "data": f"{own}:data", "budget": "0.6,0.4", "decompositions": "svd,spatial_svd",
        "n_trials": "12", "finetune_trials": "2", "finetune_steps": "8", "epochs": "1", "batch_size": "32",
        "threads": "1", "quiet": True,
    }  # fmt: skip
    undisturbed = tmp_path / "undisturbed"
    start(out=str(undisturbed), **options).join(60)  # also warms the server up
    assert (undisturbed / "front.json").is_file()
    began = time.monotonic()
    again = tmp_path / "again"
    start(out=str(again), **options).join(60)
    whole = time.monotonic() - began

    def same(path: Path) -> bool:
        return all(
            (path / name).read_bytes() == (undisturbed / name).read_bytes()
            for name in ("front.json", "trials.csv")
        ) and all(delivered(path, budget) == delivered(undisturbed, budget) for budget in ("0.6", "0.4"))

    assert same(again)
    moments = random.Random(0)
    kills, number = 0, 0
    while kills < KILLS:
        killed = tmp_path / f"killed-{number}"
        process = start(out=str(killed), resume=True, trust=True, **options)
        process.join(moments.uniform(0, whole))
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
        else:  # it came to its end in spite of earlier kills: go on with another one
            assert process.exitcode == 0
            assert same(killed)
            number += 1
    last = start(out=str(killed), resume=True, trust=True, **options)
    last.join(60)
    assert last.exitcode == 0
    assert same(killed)
