"""Folders of results: made, known by their content, held by one process at a time."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ranksearch.errors import InputError, expected
from ranksearch.files import check_no_links, open_own, remove_temporary

try:
    import fcntl
except ImportError:  # Windows: folders there are not kept from each other
    fcntl = None  # type: ignore[assignment]

CONFIG = "config.toml"
"""Name of the options in a folder of results."""

PLAN_FILE = "plan.json"
"""Name of the plan in the folder of a compressed model."""

TABLES = "tables.json"
"""Name of the tables of candidates in the folder of a run."""

TRAINING = ".training"
"""Name of the folder beside a model in which its training is kept while it lasts."""

LOCK = ".lock"


@contextmanager
def usable(out: Path) -> Iterator[None]:
    """A folder of results that cannot be used is for the user to correct: InputError instead of OSError."""
    try:
        yield
    except OSError as error:
        got = f"{out} ({error.strerror})"
        raise InputError(
            expected("out", "a folder that can be made and written to", got, "Choose another `out`.")
        ) from error


def make_folder(out: Path) -> None:
    """Make a folder of results where it is missing. Raises InputError where nothing can be written to it."""
    with usable(out):
        out.mkdir(parents=True, exist_ok=True)
        # Permissions do not tell: the superuser has them all, on a read-only file system too.
        tempfile.TemporaryFile(dir=out).close()


def check_content(
    path: Path, mark: Path, kind: str, *, resume: bool, preliminary: Collection[Path] = ()
) -> None:
    """Raise InputError where a folder holds something that a new run would meet, or that is none to resume.

    mark: the file by which a folder of this kind (`a run`) is known. preliminary: what may be there before it.
    """
    with usable(path):
        if path.exists() and not path.is_dir():
            raise InputError(expected("out", "a folder", f"the file {path}"))
        content = [p for p in path.iterdir() if not p.name.startswith(".")] if path.is_dir() else []
    if mark.is_file():
        if not resume:
            way_out = "Continue it with `resume`, or choose another `out`."
            if (path / TABLES).is_file():  # which a run has once it has found its plans
                way_out += f" `ranksearch plan {path}` makes plans for other budgets."
            raise InputError(expected("out", "a new or empty folder", f"{path}, which holds {kind}", way_out))
    elif content and not (resume and set(content) <= set(preliminary)):
        what = f"the folder of {kind}" if resume else "a new or empty folder"
        raise InputError(
            expected("out", what, f"{path}, which holds {content[0].name}", "Choose another `out`.")
        )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel releases when this process ends, however it ends."""
    descriptor = open_own(path / LOCK, os.O_RDWR)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                owner = os.read(descriptor, 32).decode() or "another process"
                got = f"{path}, which {owner} is using"
                raise InputError(
                    expected(
                        "out", "a folder that no other process is using", got, "Wait for it, or stop it."
                    )
                ) from error
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()}".encode())
        yield
    finally:
        os.close(descriptor)


@contextmanager
def held(
    path: Path,
    mark: Path,
    kind: str,
    *,
    resume: bool,
    preliminary: Collection[Path] = (),
    written: Collection[str],
    found: Callable[[], bool],
) -> Iterator[bool]:
    """A folder of results, made or gone on with, for this process alone; whether it is gone on with.

    mark, kind, preliminary: see `check_content`. written: patterns of what is written in it, of which nothing may be a
    link. found: whether there are results. Raises InputError where the folder holds something already and `resume` is
    off, or where another process is using it. What ends in an InputError before it found anything leaves nothing
    behind, so that the mistake can be corrected.
    """
    with usable(path):
        check_no_links(path, (*written, LOCK))
    check_content(path, mark, kind, resume=resume, preliminary=preliminary)
    existed = path.is_dir()
    make_folder(path)
    before = set(path.iterdir())
    with locked(path):
        check_content(path, mark, kind, resume=resume, preliminary=preliminary)
        remove_temporary(path)
        resumed = mark.is_file()
        try:
            yield resumed
        except InputError:
            if not resumed and not found():
                for file in {*path.iterdir()} - before:
                    if file.is_dir() and not file.is_symlink():
                        shutil.rmtree(file)
                    else:
                        file.unlink()
                if not existed:
                    path.rmdir()
            raise
