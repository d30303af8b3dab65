"""The folder of a run: what lies where in it, one run at a time, and going on with one that was killed."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranksearch.config import RUN_CONFIG, absolute, check_same, parse, read_toml, write_toml
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.files import make_folder, usable, write_text
from ranksearch.options import RunOptions

try:
    import fcntl
except ImportError:  # Windows: runs there are not kept from each other
    fcntl = None  # type: ignore[assignment]


LOCK = ".lock"


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / RUN_CONFIG

    @property
    def splits(self) -> Path:
        return self.path / "splits.json"

    @property
    def study(self) -> Path:
        return self.path / "study.jsonl"

    @property
    def trials(self) -> Path:
        return self.path / "trials.csv"

    @property
    def front(self) -> Path:
        return self.path / "front.json"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def plan(self, budget: float) -> Path:
        return self.path / f"plan-{budget_name(budget)}.json"

    def compressed(self, budget: float) -> Path:
        return self.path / "compressed" / budget_name(budget)

    def plans(self) -> list[Path]:
        """Plan files that are there, largest budget first."""
        files = self.path.glob("plan-*.json")
        budgets = {path: budget for path in files if (budget := _budget(path)) is not None}
        return sorted(budgets, key=budgets.__getitem__, reverse=True)

    def has_results(self) -> bool:
        """Whether a search has left anything."""
        return bool(self.plans()) or (self.study.is_file() and self.study.stat().st_size > 0)

    def clear(self, *, remove: bool) -> None:
        """Take away what a run writes before its search, and the folder itself with `remove`."""
        for path in (self.config, self.splits, self.log, self.study, self.path / LOCK):
            path.unlink(missing_ok=True)
        if remove:
            self.path.rmdir()

    def write_splits(self, splits: Mapping[str, Any]) -> None:
        """Write splits.json, or, where it is there already, check that the data has not changed."""
        content = json.dumps(splits) + "\n"
        if self.splits.is_file() and self.splits.read_text(encoding="utf-8") != content:
            what = "the training images that the run was started with"
            raise MismatchError(expected(f"--data of {self.path}", what, "others", "Choose another --out."))
        write_text(self.splits, content)


def budget_name(budget: float) -> str:
    """As short as it can be: 0.2, 0.125, 1."""
    return f"{budget:g}" if float(f"{budget:g}") == budget else repr(budget)


def default_path(model: str) -> Path:
    """`runs/MODEL-DATE-TIME` in the working directory."""
    name = re.sub(r"\W+", "-", re.split(r"[/\\]", model)[-1]).strip("-")
    return Path.cwd() / "runs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


@contextmanager
def open_run(options: RunOptions) -> Iterator[RunFolder]:
    """The folder of the run, made or gone on with, for this process alone.

    Raises InputError where the folder holds something already and `resume` is off, or another process is at
    work in it, and MismatchError where a run to resume has another configuration. With `resume` and nothing
    there yet the run begins: it was killed before it could write anything. A run that ends in an InputError
    before it found anything leaves nothing behind, so that the mistake can be put right.
    """
    folder = RunFolder(options.out or default_path(options.model))
    check_content(folder.path, folder.config, "a run", resume=options.resume)
    existed = folder.path.is_dir()
    make_folder(folder.path)
    with locked(folder.path):
        check_content(folder.path, folder.config, "a run", resume=options.resume)
        for left_over in folder.path.rglob(".*.tmp"):
            left_over.unlink(missing_ok=True)
        resumed = folder.config.is_file()
        if resumed:
            check_same(parse(absolute(read_toml(folder.config), folder.path)), options, folder.path)
        else:
            write_text(folder.config, write_toml(options.model_copy(update={"resume": False})))
        try:
            yield folder
        except InputError:
            if not resumed and not folder.has_results():
                folder.clear(remove=not existed)
            raise


def check_content(
    path: Path, mark: Path, kind: str, *, resume: bool, preliminary: Collection[Path] = ()
) -> None:
    """Raise InputError where a folder holds something that a new run would meet, or that is none to resume.

    mark: the file by which a folder of this kind (`a run`) is known. preliminary: what may be there before it.
    """
    with usable(path):
        if path.exists() and not path.is_dir():
            raise InputError(expected("--out", "a folder", f"the file {path}"))
        content = [p for p in path.iterdir() if not p.name.startswith(".")] if path.is_dir() else []
    if mark.is_file():
        if not resume:
            way_out = "Continue it with --resume, or choose another --out."
            raise InputError(
                expected("--out", "a new or empty folder", f"{path}, which holds {kind}", way_out)
            )
    elif content and not (resume and set(content) <= set(preliminary)):
        what = f"the folder of {kind}" if resume else "a new or empty folder"
        raise InputError(
            expected("--out", what, f"{path}, which holds {content[0].name}", "Choose another --out.")
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel releases when this process ends, however it ends."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = os.read(descriptor, 32).decode() or "another process"
                got = f"{path}, where {owner} is at work"
                raise InputError(
                    expected("--out", "a folder of its own", got, "Wait for it, or stop it.")
                ) from error
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()}".encode())
        yield
    finally:
        os.close(descriptor)


def _budget(plan: Path) -> float | None:
    """The budget that a plan file is named for; None where it is somebody else's file."""
    try:
        return float(plan.stem.removeprefix("plan-"))
    except ValueError:
        return None
