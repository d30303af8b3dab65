"""Two processes on one study: the second is refused while the first is alive, and goes on where it is dead."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.study import Study
from optuna.trial import TrialState

from ranksearch.errors import InputError
from ranksearch.planning import Problem
from ranksearch.searching import SearchSettings, search
from ranksearch.searching.studies import check_unused, lease, life, open_storage
from ranksearch.searching.studies.lease import KEY, Lease, leased

SETTINGS = SearchSettings(budgets=(0.5,), n_trials=3, finetune_trials=0, refit_trials=0, study_name="shared")

HOLDER = """
import sys, time, optuna
from ranksearch.searching.studies import open_storage
from ranksearch.searching.studies.lease import leased

study = optuna.create_study(storage=open_storage(sys.argv[1]), study_name="shared-0.5-divergence", load_if_exists=True)
with leased(study):
    study.ask()
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["journal", "sqlite"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "s.jsonl") if request.param == "journal" else f"sqlite:///{tmp_path}/s.db"


@pytest.fixture
def opened(location: str) -> Callable[[], Study]:
    """The study as another process opens it."""
    return lambda: optuna.create_study(storage=open_storage(location), study_name="s", load_if_exists=True)


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "BEAT", 0.05)
    monkeypatch.setattr(life, "EXPIRY", 1.0)


def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on leases are those of another machine."""
    monkeypatch.setattr(life, "_place", lambda: "elsewhere")


def test_who_is_alive_is_left_alone(opened: Callable[[], Study], monkeypatch: pytest.MonkeyPatch) -> None:
    with leased(opened()):
        elsewhere(monkeypatch)
        with pytest.raises(
            InputError, match=rf"study 's': .* got process {os.getpid()} on .*Wait until it has ended"
        ):
            Lease(opened()).take()
    Lease(opened()).take()


def test_who_is_silent_is_taken_for_dead(
    opened: Callable[[], Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Lease(opened())
    first.take()
    elsewhere(monkeypatch)
    second, began = Lease(opened()), time.monotonic()
    second.take()
    assert time.monotonic() - began >= life.EXPIRY
    # The first finds out, and neither speaks for itself any more nor gives back what it does not hold.
    first.beat()
    first.give_back()
    assert opened().user_attrs[KEY]["place"] == "elsewhere"
    second.give_back()
    assert opened().user_attrs[KEY] is None


def test_of_two_that_come_at_once_one_is_refused(
    opened: Callable[[], Study], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Lease(opened()), Lease(opened())
    monkeypatch.setattr(lease.time, "sleep", lambda _: second._say({**second.sign, "beat": 0}))
    with pytest.raises(InputError, match="one that no other process is at work on"):
        first.take()


def test_a_process_that_is_killed_gives_way_at_once(tiny_problem: Problem, location: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, location], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        storage = open_storage(location)
        (running,) = storage.get_all_trials(storage.get_study_id_from_name("shared-0.5-divergence"))
    finally:
        holder.kill()
        holder.communicate()
    assert running.state == TrialState.RUNNING
    check_unused(open_storage(location), "shared-")
    search(tiny_problem, SETTINGS, storage=open_storage(location))
    trials = storage.get_all_trials(storage.get_study_id_from_name("shared-0.5-divergence"))
    assert [trial.state.name for trial in trials] == ["FAIL", *["COMPLETE"] * 3]


def test_a_search_beside_another_changes_nothing(
    tiny_problem: Problem, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(tiny_problem, SETTINGS, storage=open_storage(location))
    study = optuna.load_study(study_name="shared-0.5-divergence", storage=open_storage(location))
    before = study.get_trials()
    with leased(study):
        study.ask()
        elsewhere(monkeypatch)
        with pytest.raises(InputError, match="no other process"):
            check_unused(open_storage(location), "shared-")
        check_unused(open_storage(location), "other-")
        with pytest.raises(InputError, match="no other process"):
            search(tiny_problem, SETTINGS, storage=open_storage(location))
    after = study.get_trials()
    assert after[: len(before)] == before
    assert [trial.state for trial in after[len(before) :]] == [TrialState.RUNNING]
