"""Storages to search in: files, database servers of the suite's own, and proxies in front of these."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .databases import MySQL, Postgres, Server, running


@pytest.fixture(scope="session")
def _postgres() -> Iterator[Server]:
    with running(Postgres) as server:
        yield server


@pytest.fixture(scope="session")
def _mysql() -> Iterator[Server]:
    with running(MySQL) as server:
        yield server


@pytest.fixture
def postgres(_postgres: Server) -> Server:
    """PostgreSQL with an empty database."""
    _postgres.clear()
    return _postgres


@pytest.fixture
def mysql(_mysql: Server) -> Server:
    """MariaDB with an empty database."""
    _mysql.clear()
    return _mysql


@pytest.fixture(params=["postgres", "mysql"])
def database(request: pytest.FixtureRequest) -> Server:
    """A server with an empty database."""
    server: Server = request.getfixturevalue(request.param)
    return server


LOCATIONS = ("journal", "sqlite", "postgres", "mysql", "proxy-journal", "proxy-sqlite", "proxy-postgres")


@pytest.fixture(params=LOCATIONS)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A storage with nothing in it, by its kind."""
    kind = request.param.removeprefix("proxy-")
    files = {"journal": str(tmp_path / "s.jsonl"), "sqlite": f"sqlite:///{tmp_path}/s.db"}
    behind = files.get(kind) or request.getfixturevalue(kind).url
    if kind == request.param:
        yield behind
        return
    pytest.importorskip("grpc", reason="needs grpcio: pip install '.[grpc]'")
    from ranksearch.searching.studies import serving

    with serving(behind, "127.0.0.1", 0) as address:
        yield address
