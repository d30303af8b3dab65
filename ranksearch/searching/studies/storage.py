"""Where studies are stored: memory, a journal file, a database, or a proxy in front of one of these."""

from __future__ import annotations

import os
from pathlib import Path

from optuna.storages import BaseStorage, InMemoryStorage

from ranksearch.errors import InputError, expected, told
from ranksearch.redaction import conceal
from ranksearch.searching.studies.database import open_database
from ranksearch.searching.studies.journal import open_journal
from ranksearch.searching.studies.patient import patient

TIMEOUT = 120.0
"""Seconds for which a database or a proxy may be away."""

PROXY = "grpc://"
"""What the address of a proxy begins with."""

INSTALL_GRPC = "pip install 'ranksearch[grpc]'"


def open_storage(location: str | os.PathLike[str] | None, timeout: float = TIMEOUT) -> BaseStorage:
    """Storage at a journal's path, an RDB URL (with `://`) or a proxy, `grpc://HOST:PORT`; in memory for None.

    timeout: for how many seconds a database or a proxy, once reached, may be away before a call of the storage fails.
    """
    if location is None:
        return InMemoryStorage()
    text = str(location)
    if text.startswith(PROXY):
        check_grpc(f"for {conceal(text)}")
        from ranksearch.searching.studies.proxied import open_proxied

        return patient(open_proxied(text), timeout)
    return patient(open_database(text), timeout) if "://" in text else open_journal(Path(location))


def check_grpc(purpose: str) -> None:
    """Raise InputError where what Optuna's proxy needs is missing, or of a version that does not go with it."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # processes that are started here make no calls
    try:
        import optuna.storages._grpc.auto_generated.api_pb2_grpc  # noqa: F401
    except Exception as error:  # protobuf and Optuna raise kinds of their own for versions
        wanted = f"the packages grpcio and protobuf {purpose}"
        raise InputError(expected("storage", wanted, told(error), INSTALL_GRPC)) from error
