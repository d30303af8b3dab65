"""A run that is stopped again and again, in every way there is, ends with the plans and models of an undisturbed one.

RANKSEARCH_FAULTS says how often to stop it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ranksearch.runs import RunFolder

FAULTS = int(os.environ.get("RANKSEARCH_FAULTS", "0"))
KILLS = FAULTS or 6

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)

WORDS = (
    "run", "--budget", "0.6,0.4", "--decompositions", "svd,spatial_svd", "--n-trials", "12", "--finetune-trials", "2",
    "--finetune-steps", "8", "--epochs", "1", "--batch-size", "32", "--threads", "1", "--quiet", "--export", "none",
)  # fmt: skip

Start = Callable[[Path, Sequence[object]], Any]


@pytest.fixture
def start(own_folder: Path) -> Iterator[Start]:
    """Starts a run, or goes on with it, in a process of its own that has everything imported already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ranksearch.runs.run", "ranksearch.cli.tables", "ranksearch.cli.app"])
    own, started = f"{own_folder}/own.py", []

    def start(out: Path, more: Sequence[object] = ()) -> Any:
        given = ("--model", f"{own}:model", "--data", f"{own}:data", "--out", out, "--resume", "--trust")
        words = ["ranksearch", *map(str, (*WORDS, *given, *more))]
        # The names of this file are not known there.
        code = f"import sys; sys.argv = {words!r}; from ranksearch.cli import main; main()"
        started.append(context.Process(target=exec, args=(code, {})))
        started[-1].start()
        return started[-1]

    yield start
    for process in started:
        process.kill()


def delivered(path: Path) -> list[bytes]:
    """What a run found and delivered, but for times, which differ each time."""
    folder, found = RunFolder(path), []
    for budget in ("0.6", "0.4"):
        out = folder.compressed(budget)
        record = json.loads((out / "plan.json").read_text())
        assert record["footprint"].pop("time")["ratio"] > 0
        files = (folder.plan(budget), out / "model.safetensors")
        found += [json.dumps(record).encode(), *(file.read_bytes() for file in files)]
    return [*found, *(file.read_bytes() for file in (folder.splits, folder.front, folder.trials))]


def timed(start: Start, out: Path, more: Sequence[object] = ()) -> float:
    """The seconds that an undisturbed run takes."""
    began = time.monotonic()
    process = start(out, more)
    process.join(300)
    assert process.exitcode == 0
    return time.monotonic() - began


def test_stopped_at_random_moments(tmp_path: Path, start: Start) -> None:
    undisturbed, again = tmp_path / "undisturbed", tmp_path / "again"
    timed(start, undisturbed)  # also warms the server up
    whole, wanted = timed(start, again), delivered(undisturbed)
    assert delivered(again) == wanted
    moments = random.Random(0)
    stopped, number = 0, 0
    while stopped < KILLS:
        out = tmp_path / f"stopped-{number}"
        process = start(out)
        process.join(moments.uniform(0, whole))
        if process.is_alive():
            os.kill(process.pid, moments.choice(SIGNALS))
            process.join(60)
            assert not process.is_alive()
            stopped += 1
        else:  # it came to its end in spite of what stopped it before: go on with another one
            assert process.exitcode == 0
            assert delivered(out) == wanted
            number += 1
    last = start(out)
    last.join(300)
    assert last.exitcode == 0
    assert delivered(out) == wanted


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


@pytest.mark.skipif(not FAULTS, reason="takes long: RANKSEARCH_FAULTS=100")
def test_workers_the_process_that_leads_them_and_the_database_are_stopped(
    tmp_path: Path, start: Start, postgres: Any
) -> None:
    """Workers and the database once each are part of the tests of the search."""

    def options(name: str) -> list[object]:
        return ["--sampler", "random", "--workers", 2, "--storage", postgres.url, "--study-name", name]

    timed(start, tmp_path / "alone", ["--sampler", "random"])
    wanted = delivered(tmp_path / "alone")
    whole = timed(start, tmp_path / "undisturbed", options("undisturbed"))
    assert delivered(tmp_path / "undisturbed") == wanted
    moments, number, counts = (
        random.Random(1),
        0,
        dict.fromkeys(("process", "worker", "database", "signal"), 0),
    )
    seen: set[int] = set()
    while sum(counts.values()) < FAULTS:
        out = tmp_path / f"stopped-{number}"
        process = start(out, options(out.name))
        for _ in range(moments.choice((1, 2, 3))):
            process.join(moments.uniform(0, whole / 2))
            if not process.is_alive():
                break
            workers = children(process.pid)
            seen.update(workers)
            kind = moments.choice([*counts])
            if kind == "worker" and not workers:
                continue
            counts[kind] += 1
            if kind == "database":
                postgres.stop()
                time.sleep(moments.uniform(0, 2))
                postgres.start()
            elif kind == "worker":
                with suppress(ProcessLookupError):
                    os.kill(moments.choice(workers), signal.SIGKILL)
            else:
                given = (signal.SIGTERM, signal.SIGINT)
                os.kill(process.pid, signal.SIGKILL if kind == "process" else moments.choice(given))
        process.join(300)
        assert not process.is_alive()
        if process.exitcode == 0:
            assert delivered(out) == wanted, out
            number += 1
    for pid in seen:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    print(counts)
    assert number
