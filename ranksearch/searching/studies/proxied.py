"""A storage behind a proxy, at grpc://HOST:PORT: Optuna's client, which notices that the proxy is gone."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import grpc
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated.api_pb2_grpc import StorageServiceStub
from optuna.storages._grpc.client import GrpcClientCache

from ranksearch.errors import InputError, expected
from ranksearch.redaction import conceal
from ranksearch.searching.studies.quiet import quiet_optuna

PORT = 13000
"""Where a proxy listens, unless told otherwise: Optuna's choice."""

DEADLINE = 60.0
"""Seconds after which a call without an answer is given up."""

_CHANNEL = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.enable_http_proxy", 0),  # that of the environment is for the web
)
"""So that a proxy that went without a word is noticed within 20 seconds, and found soon when it is back."""


def open_proxied(location: str) -> GrpcStorageProxy:
    """The storage behind the proxy at an address. Raises InputError where none answers there."""
    host, port = address_of(location)
    with quiet_optuna():
        storage = _Proxied(host=host, port=port)
    try:
        storage.get_study_id_from_name("")
    except KeyError:  # an answer
        return storage
    except grpc.RpcError as error:
        storage.close()
        got, way_out = f"{location} ({error.details()})", "Start one with `ranksearch storage-proxy`."
        raise InputError(expected("storage", "a storage proxy that answers", got, way_out)) from error
    return storage


def address_of(location: str) -> tuple[str, int]:
    """Host and port of grpc://HOST[:PORT]. Raises InputError for anything else."""
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number, or brackets that do not close
        host, port = None, None
    else:
        if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc:
            host = None
    if not host:
        way_out = "A proxy has neither users nor databases."
        raise InputError(expected("storage", "grpc://HOST:PORT", conceal(location), way_out))
    return f"[{host}]" if ":" in host else host, PORT if port is None else port


class _Proxied(GrpcStorageProxy):
    """Optuna's client with a channel of our own."""

    def _setup(self) -> None:
        direct = grpc.insecure_channel(f"{self._host}:{self._port}", options=_CHANNEL)
        self._channel = grpc.intercept_channel(direct, _Deadline())
        self._stub = StorageServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._cache = GrpcClientCache(self._stub)


class _Deadline(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Gives every call a deadline, which Optuna's client leaves out."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details._replace(timeout=DEADLINE), request)
