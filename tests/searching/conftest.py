"""A PostgreSQL server of the suite's own, where its programs are installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


def _program(name: str) -> str | None:
    """A program of PostgreSQL, of which Debian keeps most out of the path."""
    beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(beside[-1]) if beside else None)


@dataclass(frozen=True)
class Postgres:
    """A server on the loopback address. It refuses to run as root, for whom it runs as nobody."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://ranksearch@127.0.0.1:{self.port}/postgres"

    def run(self, program: str, *words: str) -> None:
        found = _program(program)
        assert found is not None
        user: dict[str, Any] = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
        log = self.folder / "commands.log"
        with log.open("ab") as output:  # pg_ctl leaves the server with its output: a pipe would never end
            done = subprocess.run(
                [found, "-D", str(self.folder / "data"), *words],
                cwd=self.folder, stdout=output, stderr=output, timeout=60, **user,
            )  # fmt: skip
        assert done.returncode == 0, log.read_text()

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "fsync": "off"
        }  # fmt: skip
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self.run("pg_ctl", "-w", "-l", str(self.folder / "server.log"), "-o", options, "start")

    def stop(self) -> None:
        """As if the machine had lost power."""
        self.run("pg_ctl", "-w", "-m", "immediate", "stop")


@pytest.fixture(scope="session")
def _server() -> Iterator[Postgres]:
    pytest.importorskip("psycopg", reason="needs psycopg: pip install '.[postgres]'")
    if _program("initdb") is None or _program("pg_ctl") is None:
        # Where a server is promised, tests that need one are not to be left out unnoticed.
        (pytest.fail if "RANKSEARCH_NEEDS_POSTGRES" in os.environ else pytest.skip)(
            "needs PostgreSQL's initdb and pg_ctl"
        )
    folder = Path(tempfile.mkdtemp(prefix="ranksearch-postgres-", dir="/tmp"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Postgres(folder, free.getsockname()[1])
    try:
        server.run("initdb", "-U", "ranksearch", "-A", "trust", "-E", "UTF8", "--no-sync")
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres(_server: Postgres) -> Postgres:
    """The server with an empty database."""
    import psycopg

    with psycopg.connect(_server.url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
    return _server
