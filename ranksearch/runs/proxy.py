"""A proxy in front of the storage that options name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ranksearch.errors import InputError, expected
from ranksearch.redaction import conceal
from ranksearch.runs.config import load_options
from ranksearch.searching.studies import PROXY, check_grpc, quiet_optuna


@contextmanager
def storage_proxy(given: Mapping[str, Any], host: str, port: int) -> Iterator[tuple[str, str]]:
    """Serve a storage meanwhile: the address of the proxy, and what it stands in front of, without passwords.

    given: options by name. Raises InputError where no storage is named, where it does not open, or where the address
    cannot be listened on.
    """
    location = load_options(given).storage
    if location is None or location.startswith(PROXY):
        got = "none" if location is None else conceal(location)
        raise InputError(expected("storage", "a database or a journal for the proxy", got))
    check_grpc("for the proxy")
    from ranksearch.searching.studies import serving  # needs these packages

    with quiet_optuna(), serving(location, host, port) as address:
        yield address, conceal(location)
