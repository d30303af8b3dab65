"""Files that appear whole or not at all, and the folders that they go to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ranksearch.errors import InputError, expected


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; on success it takes the place of `path`, after an error nothing is left of it.

    The folder of `path` is made where it is missing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, content: str) -> None:
    """Write a text file, UTF-8, in one step."""
    with whole_file(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


@contextmanager
def usable(out: Path) -> Iterator[None]:
    """What the system has against a folder of results is the user's to put right: InputError instead of OSError."""
    try:
        yield
    except OSError as error:
        got = f"{out} ({error.strerror})"
        raise InputError(
            expected("--out", "a folder that can be made and written to", got, "Choose another --out.")
        ) from error


def make_folder(out: Path) -> None:
    """Make a folder of results where it is missing. Raises InputError where nothing can be written to it."""
    with usable(out):
        out.mkdir(parents=True, exist_ok=True)
        # Permissions do not tell: the superuser has them all, on a read-only file system too.
        tempfile.TemporaryFile(dir=out).close()
