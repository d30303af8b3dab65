"""Files that appear whole or not at all, and files that are this program's own to change."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ranksearch.errors import InputError, expected

FILE_NAME = r"\w[\w.-]{0,62}"
"""What a file that others name may be called: its 63 characters take 252 bytes at most, and file systems take 255."""

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.ranksearch\.tmp")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to; on success it takes the place of `path`, after an error nothing is left of it.

    The folder of `path` is made where it is missing. The content is on the disk before the name is, and the name before
    this returns, so that a machine that loses power has the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.ranksearch.tmp")
    try:
        # Never through a link that somebody put there.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)) == temporary:
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):  # it would hide what went wrong
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk."""
    if path.is_dir() and os.name == "nt":  # Windows keeps names by itself, and opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems know no such thing
            raise
    finally:
        os.close(descriptor)


def remove_temporary(folder: Path, *, deep: bool = True, age: float = 0.0) -> None:
    """Remove what killed processes left half-written in a folder and those in it: files of `whole_file` alone.

    deep: whether in those in it too. age: seconds for which nothing was written to them, where other processes may be
    writing to the folder.
    """
    for parent, folders, names in os.walk(folder):
        if not deep:
            folders.clear()
        for name in names:
            path = Path(parent, name)
            if _TEMPORARY.fullmatch(name) and (not age or _age(path) > age):
                path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:  # another process was faster
        return 0.0


def write_text(path: Path, content: str) -> None:
    """Write a text file, UTF-8, in one step."""
    with whole_file(path) as temporary:
        temporary.write_text(content, encoding="utf-8")


def open_own(path: Path, flags: int) -> int:
    """A descriptor of a file that is changed in place, made where it is missing.

    Raises InputError where it is a link, or no plain file: what is written would end up somewhere else.
    """
    careful = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags | os.O_CREAT | careful, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _no_plain_file(path) from error
        raise
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
        os.close(descriptor)
        raise _no_plain_file(path)
    return descriptor


def check_no_links(folder: Path, patterns: Iterable[str]) -> None:
    """Raise InputError where something that will be written to in a folder is a link to somewhere else."""
    for pattern in patterns:
        for path in folder.glob(pattern):
            if path.is_symlink() or (path.is_file() and path.stat().st_nlink > 1):
                raise _no_plain_file(path)


def _no_plain_file(path: Path) -> InputError:
    wanted = "a plain file or folder"
    return InputError(
        expected(str(path), wanted, "a link or a device", "Remove it, or choose another `out`.")
    )
