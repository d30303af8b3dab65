"""A journal file that survives kill -9."""

from __future__ import annotations

import os
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from ranksearch.errors import InputError, expected, told
from ranksearch.reading import decoded, parse_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class _KernelLock(JournalFileOpenLock):
    """A lock on the journal itself that the kernel releases when its holder dies.

    Optuna's own locks are files that a killed process leaves behind; the next one would wait 30 s.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._held: list[int] = []

    def acquire(self) -> bool:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self._held.append(descriptor)
        return True

    def release(self) -> None:
        os.close(self._held.pop())


def open_journal(path: Path) -> JournalStorage:
    """The storage in a journal, which is made where it is missing. Raises InputError for a file that is none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _KernelLock(str(path)) if fcntl else JournalFileOpenLock(str(path))
        _cut_torn_line(path)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except Exception as error:  # Optuna carries out whatever stands in the file, and raises what it runs into
        got, way_out = f"{path} ({told(error)})", "Name another file, or remove this one to start over."
        raise InputError(expected("storage", "an Optuna journal", got, way_out)) from error


def _cut_torn_line(path: Path) -> None:
    """Remove an incomplete last line of a killed process; the next record would be appended to it."""
    if not path.exists():
        return
    if not path.is_file() and not path.is_dir():
        raise ValueError("a pipe, a socket or a device")
    with path.open("rb+") as file:
        content = file.read()
        # Somebody else's file is neither cut nor written to.
        if not content.startswith(_RECORD[: len(content)]):
            raise ValueError("its first line is none of a journal")
        if content and not content.endswith(b"\n"):
            file.truncate(content.rfind(b"\n") + 1)
        elif content:
            parse_json(
                decoded(content[content.rfind(b"\n", 0, -1) + 1 :])
            )  # Optuna overlooks a damaged last line


_RECORD = b'{"op_code":'
"""How each line of a journal begins."""
