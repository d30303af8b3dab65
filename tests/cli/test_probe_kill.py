"""A probe that is killed again and again ends with the rows and the verdict of an undisturbed one."""

from __future__ import annotations

import json
import multiprocessing
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ranksearch.cli.probe import probe_command

KILLS = 5

OWN = {"images": 24, "recovery_epochs": 1, "plots": False}


@pytest.fixture
def start() -> Callable[..., Any]:
    """Starts a probe in a process of its own that has everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ranksearch.runs.probe", "ranksearch.cli.verdict"])

    def start(given: dict[str, object], own: dict[str, object]) -> Any:
        process = context.Process(target=probe_command, args=(None, given | own))
        process.start()
        return process

    return start


def content(path: Path) -> tuple[list[str], str, object]:
    """What a probe found, but for the times, which differ each time."""
    record = json.loads((path / "probe.json").read_text())
    del record["verdict"]["speed"]
    return (
        sorted((path / "sweep.csv").read_text().splitlines()),
        (path / "recovery.json").read_text(),
        record,
    )


def test_killed_at_random_points(own_folder: Path, tmp_path: Path, start: Callable[..., Any]) -> None:
    own = own_folder / "own.py"
    given: dict[str, object] = {
        "model": f"{own}:model", "data": f"{own}:data", "decompositions": "svd", "batch_size": "16",
        "threads": "1", "quiet": True,
    }  # fmt: skip
    undisturbed, again, killed = (tmp_path / name for name in ("undisturbed", "again", "killed"))
    start(given | {"out": str(undisturbed)}, OWN).join(60)  # also warms the server up
    began = time.monotonic()
    start(given | {"out": str(again)}, OWN).join(60)
    whole = time.monotonic() - began
    assert content(again) == content(undisturbed)
    generator = random.Random(0)
    for _ in range(KILLS):
        process = start(given | {"out": str(killed), "resume": killed.exists(), "trust": True}, OWN)
        time.sleep(generator.uniform(0.1, 0.9) * whole)
        process.kill()
        process.join()
    start(given | {"out": str(killed), "resume": killed.exists(), "trust": True}, OWN).join(60)
    assert content(killed) == content(undisturbed)
