"""A storage whose server, a database or a proxy, may go away for a while: what fails for that reason is tried again, at
growing intervals."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, GrpcStorageProxy, get_storage
from optuna.study import Study

from ranksearch.errors import told
from ranksearch.redaction import redact
from ranksearch.searching.studies.database import Database

log = logging.getLogger(__name__)

FIRST, LONGEST = 0.1, 10.0
"""Seconds until the first new attempt, and between attempts at most."""

_SQLITE_BUSY = ("locked", "busy")
"""What SQLite says of what may pass; of all else, a full disk or a missing table, trying again does not help."""

_PROXY_AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
"""Codes of gRPC where a proxy is away, or its database."""

Server = Database | GrpcStorageProxy
"""What may be away."""


def patient(storage: Server, timeout: float) -> BaseStorage:
    """A storage, every call of which is repeated for up to `timeout` seconds while its server is away.

    A call may have been carried out although its answer was lost. No caller minds: what is queued twice is found by its
    ordinal, a trial that was claimed without knowing leaves no signs of life, and one that was told is told already.
    """
    return cast(BaseStorage, _Patient(storage, timeout))


class _Patient:
    def __init__(self, storage: Server, timeout: float) -> None:
        self.direct = get_storage(storage)
        self._what = "database" if isinstance(storage, Database) else "proxy"
        self._uncached = storage
        self._timeout = timeout
        self._gave_up = False  # what ends then, and tidies up, need not wait once more

    def anew(self) -> _Patient:
        """The same storage, of which nothing is known yet."""
        return _Patient(self._uncached, self._timeout)

    def close(self) -> None:
        """Close the connections to the server."""
        if isinstance(self._uncached, Database):
            self._uncached.remove_session()
            self._uncached.engine.dispose()
        else:
            self._uncached.close()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.direct, name)
        return partial(self._call, found) if callable(found) else found

    @property
    def conclude(self) -> Callable[..., None] | None:
        """`Database.conclude`; None where the server is no database."""
        storage = self._uncached
        return partial(self._call, storage.conclude) if isinstance(storage, Database) else None

    def _call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        began, pause = time.monotonic(), FIRST
        warned = False
        while True:
            try:
                found = function(*args, **kwargs)
            except Exception as error:
                left = began + self._timeout - time.monotonic()
                if not is_away(error):
                    raise
                if left <= 0 or self._gave_up:
                    self._gave_up = True
                    raise
                if not warned:
                    log.warning(
                        "storage: the %s does not answer (%s); trying for another %.0f s",
                        self._what,
                        redact(reason(error)),
                        left,
                    )
                    warned = True
                time.sleep(min(left, pause * random.uniform(0.5, 1.0)))
                pause = min(2 * pause, LONGEST)
            else:
                if warned:
                    log.warning("storage: the %s answers again", self._what)
                self._gave_up = False
                return found


def is_away(error: BaseException) -> bool:
    """Whether an error of a storage is that its server does not answer, which may pass."""
    if isinstance(error, StorageInternalError):
        return _is_database_away(error.__cause__)
    return _said_by_grpc(error, "code") in _PROXY_AWAY


def _is_database_away(cause: BaseException | None) -> bool:
    from sqlalchemy import exc  # takes a third of a second, which runs without a database need not wait for

    if isinstance(
        cause, exc.PendingRollbackError
    ):  # Optuna goes on in a session whose connection has just broken
        return True
    if not isinstance(
        cause, exc.DisconnectionError | exc.InterfaceError | exc.OperationalError | exc.TimeoutError
    ):
        return False
    original = getattr(cause, "orig", None)
    if type(original).__module__.startswith("sqlite3"):
        return any(word in str(original) for word in _SQLITE_BUSY)
    return True


def _said_by_grpc(error: BaseException, what: str) -> str:
    """The name of the code of an error of gRPC, or its details; empty for other errors."""
    said = getattr(error, what, None)
    found = said() if callable(said) else None
    return str(getattr(found, "name", found) or "")


def reason(error: BaseException) -> str:
    """Why a server does not answer."""
    cause = error.__cause__ or error
    return _said_by_grpc(cause, "details") or told(getattr(cause, "orig", None) or cause)


def close(storage: BaseStorage) -> None:
    """Close the connections of a storage, if it has any."""
    if isinstance(storage, _Patient):
        storage.close()


def concluding(study: Study) -> Callable[..., None] | None:
    """How a trial of the study is ended in one transaction, see `Database`; None where it is in no database."""
    storage = study._storage
    return storage.conclude if isinstance(storage, _Patient) else None


def impatient(storage: BaseStorage) -> BaseStorage:
    """The storage for a thread that comes back to it anyway: nothing is tried again."""
    return storage.direct if isinstance(storage, _Patient) else storage


def apart(study: Study) -> Study:
    """The study for a thread that queues trials while others read it: with a view of its own of what is stored.

    Optuna keeps the trials that a connection has read. A trial that others have finished before the thread that queued
    it has noted it would be put down as waiting, and not be looked at again.
    """
    storage = study._storage
    if not isinstance(storage, _Patient):
        return study
    own = cast(BaseStorage, storage.anew())
    return optuna.load_study(
        study_name=study.study_name, storage=own, sampler=study.sampler, pruner=study.pruner
    )
