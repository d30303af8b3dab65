"""Database servers of the suite's own, on the loopback address, where their programs are installed.

They refuse to run as root, for whom they run as nobody.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

USER: dict[str, Any] = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}


@dataclass
class Server(ABC):
    """A server with its files in a folder. programs: what it takes. driver: of Python, and the extra that has it."""

    name: ClassVar[str]
    programs: ClassVar[tuple[str, ...]]
    driver: ClassVar[tuple[str, str]]
    folder: Path
    port: int

    @classmethod
    def program(cls, name: str) -> str | None:
        """Where a program is; Debian keeps most out of the path."""
        found = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
        beside = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        return found or (str(beside[-1]) if beside else None)

    @property
    @abstractmethod
    def url(self) -> str:
        """The storage."""

    @abstractmethod
    def make(self) -> None:
        """Make its files."""

    @abstractmethod
    def start(self) -> None:
        """Start it; it answers afterwards."""

    @abstractmethod
    def stop(self) -> None:
        """As if the machine had lost power."""

    @abstractmethod
    def clear(self) -> None:
        """Leave an empty database."""

    def run(self, program: str, *words: str) -> None:
        """Carry out a program."""
        found, log = self.program(program), self.folder / "commands.log"
        assert found is not None
        with log.open("ab") as output:  # pg_ctl leaves the server with its output: a pipe would never end
            done = subprocess.run(
                [found, *words], cwd=self.folder, stdout=output, stderr=output, timeout=120, **USER
            )
        assert done.returncode == 0, log.read_text()


class Postgres(Server):
    name = "postgres"
    programs = ("initdb", "pg_ctl")
    driver = ("psycopg", "postgres")

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://ranksearch@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        data = str(self.folder / "data")
        self.run("initdb", "-D", data, "-U", "ranksearch", "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder, "fsync": "off"
        }  # fmt: skip
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        log = str(self.folder / "server.log")
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-l", log, "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self.folder / "data"), "-w", "-m", "immediate", "stop")

    def clear(self) -> None:
        import psycopg

        with psycopg.connect(self.url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("drop schema public cascade")
            connection.execute("create schema public")


@dataclass
class MySQL(Server):
    """MariaDB, which Debian has in place of MySQL."""

    name = "mysql"
    programs = ("mariadbd",)
    driver = ("pymysql", "mysql")
    process: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"mysql+pymysql://root@127.0.0.1:{self.port}/ranksearch"

    def make(self) -> None:
        (self.folder / "data").mkdir()
        if USER:
            shutil.chown(self.folder / "data", USER["user"])
        self.start()  # what a new server has written is not whole before it has ended as it should
        process = self.process.pop()
        process.terminate()
        process.wait(60)

    def start(self) -> None:
        found = self.program("mariadbd")
        assert found is not None
        settings = {
            "datadir": self.folder / "data", "port": self.port, "bind-address": "127.0.0.1",
            "socket": self.folder / "socket", "pid-file": self.folder / "pid", "log-error": self.folder / "server.log",
            "innodb-log-file-size": "8M", "innodb-buffer-pool-size": "24M",
        }  # fmt: skip
        words = [f"--{name}={value}" for name, value in settings.items()]
        # Without tables of users, which take ten seconds to make, everybody is let in.
        own = ["--no-defaults", "--skip-grant-tables", *words]
        with (self.folder / "commands.log").open("ab") as output:
            self.process.append(
                subprocess.Popen([found, *own], cwd=self.folder, stdout=output, stderr=output, **USER)
            )
        end = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < end, (self.folder / "server.log").read_text()
            time.sleep(0.05)

    def _answers(self) -> bool:
        import pymysql

        try:
            pymysql.connect(host="127.0.0.1", port=self.port, user="root").close()
        except pymysql.err.OperationalError:
            return False
        return True

    def stop(self) -> None:
        process = self.process.pop()
        process.kill()
        process.wait(60)

    def clear(self) -> None:
        import pymysql

        connection = pymysql.connect(host="127.0.0.1", port=self.port, user="root", autocommit=True)
        with connection, connection.cursor() as cursor:
            cursor.execute("drop database if exists ranksearch")
            cursor.execute("create database ranksearch")


@contextmanager
def running(kind: type[Server]) -> Iterator[Server]:
    """A server of a kind; the test is skipped where it is not installed, unless it is promised."""
    driver, extra = kind.driver
    pytest.importorskip(driver, reason=f"needs {driver}: pip install '.[{extra}]'")
    if not all(map(kind.program, kind.programs)):
        # Where a server is promised, tests that need one are not to be left out unnoticed.
        promised = f"RANKSEARCH_NEEDS_{kind.name.upper()}" in os.environ
        (pytest.fail if promised else pytest.skip)(f"needs {' and '.join(kind.programs)}")
    folder = Path(tempfile.mkdtemp(prefix=f"ranksearch-{kind.name}-", dir="/tmp"))
    if USER:
        shutil.chown(folder, "nobody")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = kind(folder, free.getsockname()[1])
    try:
        server.make()
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
