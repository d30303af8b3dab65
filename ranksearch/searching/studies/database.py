"""A database, as SQLAlchemy connects to it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import TrialState

from ranksearch.errors import InputError, expected, told
from ranksearch.redaction import conceal, redact


class Database(RDBStorage):
    """Optuna's storage in a database, with one way more to write."""

    def conclude(
        self,
        trial_id: int,
        state: TrialState,
        values: Sequence[float] | None,
        *,
        params: Mapping[str, tuple[float, BaseDistribution]],
        user_attrs: Mapping[str, Any],
        system_attrs: Mapping[str, Any],
    ) -> None:
        """End a trial, and write what is known of it by then, in one transaction.

        params: by name, as Optuna stores values, with their distributions. Raises UpdateFinishedTrialError for a trial
        that has ended, and KeyError for one that is not there.
        """
        from optuna.storages._rdb import models  # takes a third of a second, with SQLAlchemy
        from sqlalchemy import insert

        own = {"trial_id": trial_id}
        rows: dict[Any, list[dict[str, Any]]] = {
            models.TrialParamModel: [
                {
                    "param_name": name,
                    "param_value": value,
                    "distribution_json": distribution_to_json(distribution),
                }
                for name, (value, distribution) in params.items()
            ]
        }
        with _create_scoped_session(self.scoped_session) as session:
            trial: Any = models.TrialModel.find_or_raise_by_id(trial_id, session, for_update=True)
            self.check_trial_is_updatable(trial_id, trial.state)
            for kind, attrs in (
                (models.TrialUserAttributeModel, user_attrs),
                (models.TrialSystemAttributeModel, system_attrs),
            ):
                texts = {key: json.dumps(value) for key, value in attrs.items()}
                known: Any
                for known in kind.where_trial_id(trial_id, session) if texts else ():
                    known.value_json = texts.pop(known.key, known.value_json)
                rows[kind] = [{"key": key, "value_json": text} for key, text in texts.items()]
            for table, own_rows in rows.items():
                if own_rows:
                    session.execute(insert(table), [own | row for row in own_rows])
            for place, value in enumerate(values or ()):
                self._set_trial_value_without_commit(session, trial, place, value)
            trial.state = state
            trial.datetime_complete = datetime.now()


def open_database(url: str) -> Database:
    """The storage in the database of an RDB URL. Raises InputError where it cannot be opened."""
    try:
        storage = Database(url, engine_kwargs=_engine(url))
        if storage.engine.dialect.name == "sqlite":
            _one_at_a_time(storage.engine)
    except (
        Exception
    ) as error:  # databases, their drivers and Optuna's check of the schema raise kinds of their own
        got, way_out = f"{conceal(url)} ({redact(told(error))})", "Or give the path of a journal file."
        raise InputError(expected("storage", "an RDB URL that opens", got, way_out)) from error
    return storage


def _engine(url: str) -> dict[str, Any]:
    """How SQLAlchemy connects: so that a server that is gone shows, and a lock of another process is waited for."""
    backend, driver = (*url.partition("://")[0].split("+"), "")[:2]
    if backend == "sqlite" and ":memory:" in url:
        return {}
    drivers, limits = _LIMITS.get(backend, ((), {}))
    if driver not in drivers:
        return {}
    given = url.partition("?")[2]
    return {"connect_args": {name: value for name, value in limits.items() if f"{name}=" not in given}}


_LIMITS: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "sqlite": (("", "pysqlite"), {"timeout": 30}),
    "postgresql": (
        ("", "psycopg", "psycopg2"),
        {"connect_timeout": 10, "keepalives_idle": 15, "keepalives_interval": 5, "tcp_user_timeout": 30_000},
    ),
    "mysql": (("", "mysqldb", "pymysql"), {"connect_timeout": 10, "read_timeout": 60, "write_timeout": 60}),
}
"""By database, of which drivers it is known, after how long a lock is given up, or a server that went without a word:
seconds, PostgreSQL's last in milliseconds."""


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
