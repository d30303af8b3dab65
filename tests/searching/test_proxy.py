"""Searches through a proxy: what they find without one, also where the proxy or its database goes away meanwhile."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from ranksearch import testing
from ranksearch.errors import InputError
from ranksearch.planning import Problem
from ranksearch.searching import SearchSettings, front_record, search, shared
from ranksearch.searching.studies import Artifacts, Queue, check_storage, open_storage, serving
from ranksearch.searching.studies.patient import close
from ranksearch.searching.studies.trials import run_trials

from .databases import Server

pytest.importorskip("grpc", reason="needs grpcio: pip install '.[grpc]'")

from ranksearch.searching.studies.proxied import address_of

SETTINGS = SearchSettings(
    budgets=(0.5,), n_trials=14, objective="reconstruction", sampler="tpe", study_name="proxied", finetune_trials=0,
    refit_trials=2,
)  # fmt: skip


@dataclass
class Proxy:
    """`ranksearch storage-proxy` in a process of its own."""

    behind: str
    port: int = 0
    warning: str = ""
    process: subprocess.Popen[str] | None = None

    @property
    def address(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    def start(self) -> None:
        words = ["storage-proxy", "--storage", self.behind, "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ranksearch", *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            # Shells start background jobs with SIGINT ignored, and tests among them.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        assert self.process.stdout is not None
        told, self.warning = self.process.stdout.readline(), self.process.stdout.readline()
        found = re.match(r"proxy: grpc://127\.0\.0\.1:(\d+), in front of ", told)
        assert found, told + self.process.stdout.read()
        self.port = int(found[1])

    def end(self, number: signal.Signals) -> str:
        """Send it a signal; what else it has printed."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.communicate(timeout=30)[0]


@contextmanager
def proxied(behind: str) -> Iterator[Proxy]:
    proxy = Proxy(behind)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.end(signal.SIGKILL)


@contextmanager
def opened(location: str, timeout: float = 60.0) -> Iterator[BaseStorage]:
    storage = open_storage(location, timeout)
    try:
        yield storage
    finally:
        close(storage)


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return testing.tiny_problem(replace(testing.tiny_task(), cache=tmp_path_factory.mktemp("cache")))


def front(problem: Problem, storage: BaseStorage, **more: Any) -> object:
    """All that a search finds, as its front file says it."""
    found = search(problem, replace(SETTINGS, **more.pop("changed", {})), storage=storage, **more)
    return front_record(found, model="m", metric="params", dense=problem.dense)


PROXIES = ("proxy-journal", "proxy-sqlite", "proxy-postgres", "proxy-mysql")


@pytest.mark.parametrize("location", PROXIES, indirect=True)
def test_a_search_through_a_proxy_finds_what_it_finds_alone(
    problem: Problem, location: str, tmp_path: Path
) -> None:
    alone = front(problem, InMemoryStorage())
    with opened(location) as storage:
        assert front(problem, storage) == alone
    changed = {"study_name": "led"}
    with opened(location) as storage:
        wanted = replace(SETTINGS, **changed)
        with shared(problem, wanted, storage, Artifacts.at(tmp_path / "artifacts")) as board:
            assert front(problem, storage, changed=changed, board=board) == alone


@pytest.mark.parametrize("sampler", ["gp", "nsgaii", "qmc"])
def test_samplers_see_the_same_through_a_proxy(problem: Problem, tmp_path: Path, sampler: str) -> None:
    changed = {"sampler": sampler, "n_trials": 16}
    alone = front(problem, InMemoryStorage(), changed=changed)
    with serving(f"sqlite:///{tmp_path}/s.db", "127.0.0.1", 0) as address, opened(address) as storage:
        assert front(problem, storage, changed=changed) == alone


def run_queue(
    location: str, evaluate: Callable[[optuna.Trial, list[FrozenTrial]], float]
) -> list[FrozenTrial]:
    """The trials of a queue of six that a process leads and runs."""
    with opened(location) as storage:
        study = optuna.create_study(storage=storage, study_name="q", load_if_exists=True)
        run_trials(Queue(study, 6), evaluate, sampler="random", seed=0)
        return study.get_trials()


@pytest.mark.parametrize("kind", ["journal", "sqlite", "postgres"])
def test_a_proxy_that_is_killed_and_started_again_loses_nothing(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    files = {"journal": str(tmp_path / "s.jsonl"), "sqlite": f"sqlite:///{tmp_path}/s.db"}
    behind = files.get(kind) or request.getfixturevalue(kind).url

    def score(trial: optuna.Trial) -> float:
        trial.set_user_attr("seen", trial.number)
        return trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1)

    wanted = [
        trial.params for trial in run_queue(str(tmp_path / "alone.jsonl"), lambda trial, _: score(trial))
    ]
    with proxied(behind) as proxy:

        def falls_once(trial: optuna.Trial, before: list[FrozenTrial]) -> float:
            value = trial.suggest_float("x", 0, 1)
            if trial.number == 3:  # in the middle of a trial, of which the new proxy knows nothing
                proxy.end(signal.SIGKILL)
                starts = threading.Timer(0.5, proxy.start)
                starts.start()
                trial.set_user_attr("seen", trial.number)
                starts.join()
            return value + trial.suggest_float("y", 0, 1)

        found = run_queue(proxy.address, falls_once)
    assert [trial.state for trial in found] == [TrialState.COMPLETE] * 6
    assert [trial.params for trial in found] == wanted
    assert found[3].user_attrs["seen"] == 3
    with opened(behind) as storage:
        kept = optuna.load_study(study_name="q", storage=storage).trials
    assert [trial.params for trial in kept] == wanted


def test_a_proxy_that_stays_away_ends_the_search_after_a_while(tmp_path: Path) -> None:
    with serving(str(tmp_path / "s.jsonl"), "127.0.0.1", 0) as address:
        storage = open_storage(address, 1.0)
        study = optuna.create_study(storage=storage)
    began = time.monotonic()
    with pytest.raises(Exception, match=r"StatusCode\.UNAVAILABLE") as caught:
        study.ask()
    assert 1.0 <= time.monotonic() - began < 20.0
    from ranksearch.cli.endings import ending

    found = ending(caught.value)
    assert found is not None
    assert (found.code, found.go_on) == (1, True)
    assert re.fullmatch(r"storage: the proxy failed \(.+\)\.", found.message)
    close(storage)


def test_a_database_behind_a_proxy_that_stops_is_waited_for_by_the_client(
    postgres: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(postgres.url, "127.0.0.1", 0) as address, opened(address) as storage:
        study = optuna.create_study(storage=storage)
        postgres.stop()
        starts = threading.Timer(1.0, postgres.start)
        starts.start()
        study.set_user_attr("kept", True)
        starts.join()
        assert study.user_attrs == {"kept": True}
        postgres.stop()
        try:
            with pytest.raises(InputError, match="expected a storage proxy that answers"):
                open_storage(address, 0.0)
        finally:
            postgres.start()
    assert "the proxy does not answer (" in caplog.text
    assert "the database does not answer (" in caplog.text


@pytest.mark.parametrize(
    ("location", "wanted"),
    [
        ("grpc://host", ("host", 13000)), ("grpc://host:1", ("host", 1)), ("grpc://[::1]:2", ("[::1]", 2)),
        ("grpc://", None), ("grpc://:1", None), ("grpc://host:x", None), ("grpc://host:99999", None),
        ("grpc://me:secret-word@host:1", None), ("grpc://host:1/db", None), ("grpc://[::1", None),
        ("grpc://host:1?a=b", None),
    ],
)  # fmt: skip
def test_addresses(location: str, wanted: tuple[str, int] | None) -> None:
    if wanted is not None:
        assert address_of(location) == wanted
        return
    with pytest.raises(InputError, match="storage: expected grpc://HOST:PORT, got") as caught:
        open_storage(location)
    assert "secret-word" not in str(caught.value)


def test_nobody_answers() -> None:
    with pytest.raises(
        InputError, match=r"a storage proxy that answers, got grpc://127\.0\.0\.1:1 \(.*Start one"
    ):
        open_storage("grpc://127.0.0.1:1")


def test_packages_that_are_missing_are_told() -> None:
    code = """
import sys
sys.modules["grpc"] = None
from ranksearch.cli import main
main()
"""
    for words in (["storage-proxy", "--storage", "s.jsonl"], ["worker", "--storage", "grpc://127.0.0.1:1"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2
        assert "--storage: expected the packages grpcio and protobuf for" in done.stderr
        assert done.stderr.splitlines()[-1].endswith("pip install 'ranksearch[grpc]'")


def test_two_proxies_on_one_port(tmp_path: Path) -> None:
    with serving(str(tmp_path / "a"), "127.0.0.1", 0) as address:
        port = int(address.rpartition(":")[2])
        with (
            pytest.raises(InputError, match=f"port: expected one of 127.0.0.1 that is free, got {port}"),
            serving(str(tmp_path / "b"), "127.0.0.1", port),
        ):
            pass


def test_what_fails_behind_a_proxy_is_told_without_passwords(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ranksearch.redaction import conceal

    conceal("postgresql://me:s3cret-word@host/db")

    def broken(*given: object) -> None:
        raise RuntimeError("cannot reach postgresql://me:s3cret-word@host/db")

    monkeypatch.setattr("optuna.storages.JournalStorage.get_study_user_attrs", broken)
    with serving(str(tmp_path / "s"), "127.0.0.1", 0) as address, opened(address) as storage:
        study = optuna.create_study(storage=storage)
        with pytest.raises(Exception, match=r"StatusCode.INTERNAL[\s\S]*cannot reach") as caught:
            _ = study.user_attrs
    assert "s3cret-word" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "told", "code"),
    [(signal.SIGINT, "error: interrupted.", 130), (signal.SIGTERM, "error: ended by SIGTERM.", 143)],
)
def test_signals_end_it_in_one_line(tmp_path: Path, number: signal.Signals, told: str, code: int) -> None:
    proxy = Proxy(str(tmp_path / "s.jsonl"))
    proxy.start()
    assert check_storage(proxy.address, 5.0) > 0
    wanted = "no authentication, no encryption: whoever is on this machine can read and change"
    assert proxy.warning.startswith(wanted)
    assert proxy.end(number).splitlines() == [told]
    assert proxy.process is not None
    assert proxy.process.returncode == code


def test_a_storage_that_cannot_be_served_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from typer.testing import CliRunner

    from ranksearch.cli.app import app

    secret = "postgresql+psycopg://me:s3cret-word@127.0.0.1:1/x"
    for words, wanted in {
        (): "--storage: expected a database or a journal for the proxy, got none",
        (
            "--storage",
            "grpc://127.0.0.1:1",
        ): "--storage: expected a database or a journal for the proxy, got grpc:",
        ("--storage", secret): "--storage: expected an RDB URL that opens, got postgresql+psycopg://me:***@",
        ("--storage", "s.jsonl", "--host", "256.0.0.1"): "--port: expected one of 256.0.0.1 that is free",
    }.items():
        result = CliRunner().invoke(app, ["storage-proxy", *words])
        assert result.exit_code == 2
        assert wanted in " ".join(result.output.split())
        assert "s3cret-word" not in result.output
