"""What a storage costs per trial: searches whose scores take no time, with one process and with several.

python overhead.py --storage postgresql+psycopg://user@host/db --trials 200
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from optuna.storages import InMemoryStorage
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ranksearch import testing
from ranksearch.searching import SearchSettings, search, shared, work
from ranksearch.searching.studies import Artifacts, open_storage


def settings(name: str, trials: int) -> SearchSettings:
    """The sum of ε as the score: it is known before the trial."""
    return SearchSettings(
        budgets=(0.5,),  # type: ignore[arg-type]
        n_trials=trials,
        objective="reconstruction",
        sampler="random",
        study_name=name,
        finetune_trials=0,
        refit_trials=0,
    )


def seconds(location: str | None, name: str, trials: int, folder: Path, workers: int) -> tuple[float, float]:
    """How long a search takes, from when all workers wait for it, and how much of a processor this process takes."""
    wanted = settings(name, trials)
    problem = testing.tiny_problem(replace(testing.tiny_task(), cache=folder / "cache"))
    if location is None:
        return clocked(lambda: search(problem, wanted, storage=InMemoryStorage()))
    storage, artifacts = open_storage(location), Artifacts.at(folder / "artifacts")
    command = [sys.executable, __file__, "--join", name, "--storage", location, "--folder", str(folder)]
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(workers - 1)]
    with shared(problem, wanted, storage, artifacts) as board:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()  # it has joined
        took = clocked(lambda: search(problem, wanted, storage=storage, board=board))
    for other in others:
        other.wait(30)
    return took


@contextmanager
def counting() -> Iterator[list[str]]:
    """The statements that this process sends to a database meanwhile, ends of transactions included."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        sent.append(statement)

    def end(connection: Any) -> None:
        sent.append("COMMIT")

    event.listen(Engine, "before_cursor_execute", note)
    event.listen(Engine, "commit", end)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        event.remove(Engine, "commit", end)


def clocked(act: Callable[[], object]) -> tuple[float, float]:
    """Seconds by the clock, and of a processor."""
    began, used = time.perf_counter(), time.process_time()
    act()
    return time.perf_counter() - began, time.process_time() - used


def join(location: str, name: str, folder: Path) -> None:
    """A worker of the search, which says when it has joined."""
    task = replace(testing.tiny_task(), cache=folder / "cache")
    told = []

    def progress(stage: str, done: int, total: int, best: float | None = None) -> None:
        if stage == "moments" and done == total and not told:
            told.append(print("joined", flush=True))

    artifacts = Artifacts.at(folder / "artifacts")
    work(task, open_storage(location), name, artifacts=artifacts, progress=progress)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--storage", required=True)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--join", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.join:
        join(asked.storage, asked.join, asked.folder)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = [seconds(None, "alone", asked.trials, folder, 1) for _ in range(asked.repeats)]
        with counting() as sent:
            stored = [
                seconds(asked.storage, f"overhead-{time.time_ns()}", asked.trials, folder, asked.workers)
                for _ in range(asked.repeats)
            ]
    for what, place in (("by the clock", 0), ("of a processor", 1)):
        memory, storage = (statistics.median(each[place] for each in found) for found in (alone, stored))
        each = [1000 * seconds / asked.trials for seconds in (memory, storage, storage - memory)]
        print(
            f"ms a trial, {what:<15} in memory {each[0]:.1f}, in the storage {each[1]:.1f}: {each[2]:.1f} more"
        )
    print(f"statements a trial: {len(sent) / asked.trials / asked.repeats:.0f}")


if __name__ == "__main__":
    main()
