"""A proxy in front of a storage: Optuna's gRPC service, for which many workers need no more than a few connections to
the database, and none of its passwords."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._grpc.auto_generated import api_pb2
from optuna.storages._grpc.auto_generated.api_pb2_grpc import add_StorageServiceServicer_to_server
from optuna.storages._grpc.servicer import OptunaStorageProxyService, _to_proto_trial

from ranksearch.errors import InputError, expected, told
from ranksearch.redaction import redact
from ranksearch.searching.studies.database import open_database
from ranksearch.searching.studies.journal import open_journal
from ranksearch.searching.studies.patient import is_away, reason

log = logging.getLogger(__name__)

THREADS = 10
"""Calls that are carried out at the same time; SQLAlchemy keeps up to 15 connections."""

GRACE = 2.0
"""Seconds that calls have to end when the proxy ends."""

_SERVER = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.so_reuseport", 0),  # a second proxy on the same port is refused
)


@contextmanager
def serving(location: str, host: str, port: int) -> Iterator[str]:
    """Serve the storage at a location meanwhile; the address under which others open it. port: 0 for a free one.

    Whoever reaches the address can read and change all studies: there is neither a password nor encryption. Calls are
    not repeated here while a database is away: the clients do that, each for as long as it wants. Raises InputError
    where the storage does not open, or where the address cannot be listened on.
    """
    storage: BaseStorage = open_database(location) if "://" in location else open_journal(Path(location))
    pool = ThreadPoolExecutor(THREADS, thread_name_prefix="storage-proxy")
    server = grpc.server(pool, options=_SERVER, interceptors=(_Telling(),))
    add_StorageServiceServicer_to_server(_Service(storage), server)  # type: ignore[no-untyped-call]
    name = f"[{host}]" if ":" in host else host
    try:
        bound = server.add_insecure_port(f"{name}:{port}")
    except RuntimeError as error:
        way_out = "Is another proxy running? Choose another `port`."
        raise InputError(expected("port", f"one of {host} that is free", port, way_out)) from error
    server.start()
    try:
        yield f"grpc://{name}:{bound}"
    finally:
        server.stop(GRACE).wait()
        pool.shutdown(wait=False)
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()


class _Service(OptunaStorageProxyService):
    """Optuna's service without anything that it would have to remember.

    Before a database Optuna puts a cache, which after a restart does not know the trials that are running, and where
    several threads write and read misses some that finish. What a client knows already need not be read again all the
    same: it says so itself.
    """

    def GetTrials(self, request: Any, context: Any) -> Any:  # noqa: N802
        if not isinstance(self._backend, RDBStorage):
            return super().GetTrials(request, context)
        wanted = {*request.included_trial_ids}
        try:
            found = self._backend._get_trials(request.study_id, None, wanted, request.trial_id_greater_than)
        except KeyError as error:
            context.abort(code=grpc.StatusCode.NOT_FOUND, details=str(error))
        return api_pb2.GetTrialsReply(trials=map(_to_proto_trial, found))


class _Telling(grpc.ServerInterceptor):  # type: ignore[misc]
    """Tells clients why a call failed, without passwords, and whether that may pass."""

    def __init__(self) -> None:
        self._away = False

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        handler = continuation(details)
        if handler is None:
            return None

        def carried_out(request: Any, context: Any) -> Any:
            try:
                found = handler.unary_unary(request, context)
            except Exception as error:
                if context.code() is not None:  # the service has told it
                    raise
                self._tell(error, context)
            self._note(away=False)
            return found

        return grpc.unary_unary_rpc_method_handler(
            carried_out, handler.request_deserializer, handler.response_serializer
        )

    def _tell(self, error: Exception, context: Any) -> None:
        if is_away(error):
            why, code = redact(reason(error)), grpc.StatusCode.UNAVAILABLE
            self._note(away=True, why=why)
        else:
            why, code = redact(told(error)), grpc.StatusCode.INTERNAL
            log.warning("storage: %s", why)
        context.abort(code, why)

    def _note(self, *, away: bool, why: str = "") -> None:
        if away and not self._away:
            log.warning(
                "storage: the database does not answer (%s); those who call are told to try again", why
            )
        elif self._away and not away:
            log.warning("storage: the database answers again")
        self._away = away
