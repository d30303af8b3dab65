"""One after the other, each call of a short run that makes, changes, renames, removes or syncs a file fails, or is the
last before the process is killed: the run ends in one line, and goes on to what an undisturbed one delivers.

With RANKSEARCH_FAULTS every call; without, a few of different kinds.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ranksearch.cache import digest
from ranksearch.cli.endings import FAILURE, USER_MISTAKE
from ranksearch.runs import RunFolder

from .conftest import FAIL_FROM_THEN_ON, FAIL_ONCE, KILL, KILL_HALFWAY

EVERY = "RANKSEARCH_FAULTS" in os.environ
FEW = 18

QUICK = (
    "--budget", "0.5", "--decompositions", "svd", "--n-trials", "2", "--finetune-trials", "0", "--refit-trials", "0",
    "--epochs", "0", "--export", "none", "--batch-size", "80", "--threads", "1", "--quiet",
)  # fmt: skip


@dataclass(frozen=True)
class Short:
    """A short run. words: of its command line. delivered: what it delivers, undisturbed. events: its calls."""

    words: tuple[str, ...]
    delivered: str
    events: tuple[str, ...]

    def kinds(self) -> list[int]:
        """The numbers of the calls that are the first of their kind on their file, from 1 on."""
        found: dict[str, int] = {}
        for number, event in enumerate(self.events, 1):
            found.setdefault(re.sub(r"[0-9a-f]{8,}|\.tmp\w{6}", "…", event), number)
        return sorted(found.values())


def delivered(folder: RunFolder) -> str:
    """A digest of the plan, the weights and what the search found."""
    out = folder.compressed("0.5")
    record = json.loads((out / "plan.json").read_text())
    del record["footprint"]["time"]  # which differs each time
    files = (folder.plan("0.5"), out / "model.safetensors", folder.splits, folder.front, folder.trials)
    return digest(json.dumps(record), *(file.read_bytes() for file in files))


@pytest.fixture(scope="session")
def short(own_folder: Path, victim: Any, tmp_path_factory: pytest.TempPathFactory) -> Short:
    own = f"{own_folder}/own.py"
    words = (
        "run",
        "--model",
        f"{own}:model",
        "--data",
        f"{own}:data",
        *QUICK,
        "--out",
        "run",
        "--cache",
        "cache",
    )
    place = tmp_path_factory.mktemp("undisturbed")
    assert (
        victim.run(
            [*words, "--out", f"{place}/warm", "--cache", f"{place}/warm-cache"], place, here=True
        ).code
        == 0
    )
    found = [victim.run(words, make(place / name)) for name in "ab"]
    assert [each.code for each in found] == [0, 0], found[0].output
    first, second = (delivered(RunFolder(place / name / "run")) for name in "ab")
    assert first == second
    return Short(words, first, found[0].events)


def make(path: Path) -> Path:
    path.mkdir()
    return path


def ways(short: Short) -> Iterator[tuple[int, int, int]]:
    """Which call, what happens, and the error: in turns, so that each happens to calls of every kind."""
    kinds = short.kinds()
    every = random.Random(0).sample(range(1, len(short.events) + 1), len(short.events))
    numbers = every if EVERY else kinds[:: max(1, len(kinds) // FEW)]
    for turn, number in enumerate(numbers):
        torn = KILL_HALFWAY if short.events[number - 1].startswith("write ") else KILL
        yield (number, *((FAIL_ONCE, errno.EIO), (FAIL_FROM_THEN_ON, errno.ENOSPC), (torn, 0))[turn % 3])


def test_each_write_that_fails(short: Short, victim: Any, tmp_path: Path) -> None:
    tried = 0
    for number, how, error in ways(short):
        place = make(tmp_path / f"{number}-{how}")
        about = f"call {number}, {short.events[number - 1]}, way {how}"
        ended = victim.run(short.words, place, number=number, how=how, error=error)
        if how >= KILL:
            assert ended.code == -9, about
        else:
            check_told(ended, about)
        again = victim.run([*short.words, "--resume", "--trust"], place)
        assert again.code == 0, f"{about}\n{ended.output}\n{again.output}"
        assert delivered(RunFolder(place / "run")) == short.delivered, about
        assert not [*(place / "run").rglob("*.tmp")], about
        shutil.rmtree(place)
        tried += 1
        print(f"{tried} tried, the last: {about}, exit code {ended.code}", flush=True)
    assert tried >= FEW


def check_told(ended: Any, about: str) -> None:
    """That a run came to its end in spite of the error, or says in one line what happened."""
    assert ended.code in (0, FAILURE, USER_MISTAKE), f"{about}\n{ended.output}"
    assert "Traceback" not in ended.output, f"{about}\n{ended.output}"
    lines = ended.output.splitlines()
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    assert len(errors) == (ended.code != 0), f"{about}\n{ended.output}"
    for number in errors:
        assert all(line.startswith("continue with: ") for line in lines[number + 1 :]), (
            f"{about}\n{ended.output}"
        )
