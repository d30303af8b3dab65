"""Where studies are stored: a journal file that survives kill -9, an RDB, or memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from ranksearch.errors import InputError, expected, told
from ranksearch.reading import decoded, parse_json
from ranksearch.redaction import conceal, redact
from ranksearch.searching.studies.patient import patient

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


TIMEOUT = 120.0
"""Seconds for which a database may be away."""


def open_storage(location: str | os.PathLike[str] | None, timeout: float = TIMEOUT) -> BaseStorage:
    """Storage at a journal's path or an RDB URL (with `://`); in memory for None.

    timeout: for how many seconds a database, once opened, may be away before a call of the storage fails.
    """
    if location is None:
        return InMemoryStorage()
    if "://" in str(location):
        try:
            url = str(location)
            storage = RDBStorage(url, engine_kwargs=_engine(url))
            if storage.engine.dialect.name == "sqlite":
                _one_at_a_time(storage.engine)
            return patient(storage, timeout)
        except (
            Exception
        ) as error:  # databases, their drivers and Optuna's check of the schema raise kinds of their own
            got, way_out = (
                f"{conceal(str(location))} ({redact(told(error))})",
                "Or give the path of a journal file.",
            )
            raise InputError(expected("storage", "an RDB URL that opens", got, way_out)) from error
    path = Path(location)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _KernelLock(str(path)) if fcntl else JournalFileOpenLock(str(path))
        _cut_torn_line(path)
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))
    except Exception as error:  # Optuna carries out whatever stands in the file, and raises what it runs into
        got, way_out = f"{path} ({told(error)})", "Name another file, or remove this one to start over."
        raise InputError(expected("storage", "an Optuna journal", got, way_out)) from error


def _engine(url: str) -> dict[str, Any]:
    """How SQLAlchemy connects: so that a server that is gone shows, and a lock of another process is waited for."""
    backend, driver = (*url.partition("://")[0].split("+"), "")[:2]
    if backend == "sqlite":
        return (
            {} if ":memory:" in url or driver not in ("", "pysqlite") else {"connect_args": {"timeout": 30}}
        )
    if backend == "postgresql" and driver in ("", "psycopg", "psycopg2"):
        given = url.partition("?")[2]
        return {"connect_args": {name: value for name, value in _LIBPQ.items() if f"{name}=" not in given}}
    return {}


def _one_at_a_time(engine: Any) -> None:
    """Have SQLite lock the database when a transaction begins, as it knows no SELECT … FOR UPDATE: two processes that
    look at a trial before either has written would both claim it."""
    from sqlalchemy import event

    def connected(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # else Python's sqlite3 begins transactions by itself, and later

    def begun(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)
    engine.dispose()


_LIBPQ = {"connect_timeout": 10, "keepalives_idle": 15, "keepalives_interval": 5, "tcp_user_timeout": 30_000}
"""After how long a PostgreSQL server that went without a word is given up: seconds, the last in milliseconds."""


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
