"""Several processes on one search: each trial is run once, none is lost, and the front is that of a single process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread, Timer
from typing import Any, cast

import optuna
import pytest
import torch
from optuna.storages import BaseStorage, InMemoryStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import PendingRollbackError

from ranksearch import testing
from ranksearch.errors import InputError, MismatchError
from ranksearch.objectives import OBJECTIVES, Objective, Score
from ranksearch.objectives.base import Report, no_report
from ranksearch.planning import Plan, Problem
from ranksearch.searching import SearchResult, SearchSettings, search, shared, work
from ranksearch.searching.studies import Artifacts, Queue, Queued, finished, leading, life, open_storage
from ranksearch.searching.studies.patient import close
from ranksearch.searching.studies.queue import LEFT, ORDINAL, WHY, WORKER, fail, ordinal_of
from ranksearch.searching.studies.trials import TrialError, run_next, run_trials
from ranksearch.tasks import Task

from .databases import Server

TRIALS = 10

MEMBER = '''
import os, sys, time
from dataclasses import replace
from pathlib import Path
from ranksearch import testing
from ranksearch.objectives import OBJECTIVES, Objective, Score
from ranksearch.searching import work
from ranksearch.searching.studies import Artifacts, life, open_storage

location, folder, how = sys.argv[1:]
life.BEAT, life.EXPIRY = 0.1, 2.0

class Marked(Objective):
    """See the test."""
    name = "marked"
    def score(self, plan, report=lambda step, value: None):
        with open(Path(folder, "scored"), "a") as file:
            file.write(f"{os.getpid()}\\n")
        if how == "hangs":
            time.sleep(120)
        return Score(plan.error, 0.5)

OBJECTIVES.register(Marked)
task = replace(testing.tiny_task(), cache=Path(folder, "member"))
storage = open_storage(location, 30.0)
count = work(task, storage, "shared", artifacts=Artifacts.at(Path(folder, "artifacts")), timeout=60.0)
print(count, flush=True)
'''


class Marked(Objective):
    """ε, under another name; what else a score does is up to the test."""

    name = "marked"
    scored: list[Plan] = []  # noqa: RUF012
    meanwhile: Callable[[int], None] = staticmethod(lambda count: None)

    def score(self, plan: Plan, report: Report = no_report) -> Score:
        self.scored.append(plan)
        Marked.meanwhile(len(self.scored))
        return Score(plan.error, 0.5)


OPENED: list[Any] = []


def opened(location: str, timeout: float = 60.0) -> BaseStorage:
    """The storage, whose connections are closed after the test."""
    OPENED.append(open_storage(location, timeout))
    return cast(BaseStorage, OPENED[-1])


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    for storage in OPENED:
        close(storage)
    OPENED.clear()


@pytest.fixture(autouse=True)
def _marked(monkeypatch: pytest.MonkeyPatch) -> None:
    OBJECTIVES.register(Marked)
    monkeypatch.setattr(Marked, "scored", [])
    monkeypatch.setattr(Marked, "meanwhile", staticmethod(lambda count: None))
    monkeypatch.setattr(life, "BEAT", 0.1)
    monkeypatch.setattr(life, "EXPIRY", 2.0)


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    return testing.tiny_problem(replace(testing.tiny_task(), cache=tmp_path / "cache"))


def settings(**changed: Any) -> SearchSettings:
    base: dict[str, Any] = {
        "budgets": (0.5,), "n_trials": TRIALS, "objective": "marked", "sampler": "random", "study_name": "shared",
        "finetune_trials": 0, "refit_trials": 2,
    }  # fmt: skip
    return SearchSettings(**base | changed)


@contextmanager
def member(location: str, folder: Path, how: str = "works") -> Iterator[subprocess.Popen[str]]:
    """A process that joins the search."""
    words = [sys.executable, "-c", MEMBER, location, str(folder), how]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def in_trials(location: str, act: Callable[[int], None]) -> None:
    """Have something done while this process runs a trial, and not while it scores what comes before them; `act` gets
    the number of trials that it has begun."""
    begun = []

    def meanwhile(count: int) -> None:
        try:
            trials = study_in(location).trials
        except KeyError:  # another search of the test
            return
        if any(trial.state == TrialState.RUNNING for trial in trials):
            begun.append(count)
            act(len(begun))

    Marked.meanwhile = staticmethod(meanwhile)


def wait_for(file: Path, lines: int = 1) -> None:
    """Until the member has scored something, at most a minute: it has to import torch first."""
    end = time.monotonic() + 60
    while not file.is_file() or len(file.read_text().split()) < lines:
        assert time.monotonic() < end
        time.sleep(0.05)


def led(problem: Problem, location: str, folder: Path, wanted: SearchSettings) -> list[SearchResult]:
    """What a search finds that others may join."""
    storage = opened(location, 30.0)
    with shared(problem, wanted, storage, Artifacts.at(folder / "artifacts")) as board:
        return search(problem, wanted, storage=storage, board=board)


def study_in(location: str) -> Study:
    return optuna.load_study(study_name="shared-0.5-marked", storage=opened(location))


def check_each_once(location: str) -> None:
    """That every ordinal has one trial that is finished."""
    done = [t for t in study_in(location).trials if t.state == TrialState.COMPLETE]
    assert sorted(trial.user_attrs[ORDINAL] for trial in done) == list(range(TRIALS))


def check_same(found: list[SearchResult], wanted: list[SearchResult]) -> None:
    """That two searches found the same plans in the same way. Scores to single precision alone: sums of float32 depend
    on where in memory the numbers lie, which differs between processes."""
    for one, other in zip(found, wanted, strict=True):
        assert (one.budget, one.plan.ranks, one.origin) == (other.budget, other.plan.ranks, other.origin)
        assert [replace(r, scores={}) for r in one.records] == [replace(r, scores={}) for r in other.records]
        for scores, expected in zip(
            [one.scores, *(r.scores for r in one.records)],
            [other.scores, *(r.scores for r in other.records)],
            strict=True,
        ):
            assert dict(scores) == pytest.approx(dict(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("location", "sampler"),
    [
        ("journal", "random"),
        ("sqlite", "random"),
        ("postgres", "qmc"),
        ("mysql", "random"),
        ("proxy-postgres", "qmc"),
    ],
    indirect=["location"],
)
def test_two_processes_find_what_one_finds(
    problem: Problem, location: str, tmp_path: Path, sampler: str
) -> None:
    wanted = settings(sampler=sampler)
    alone = search(problem, wanted, storage=InMemoryStorage())
    in_trials(location, lambda count: wait_for(tmp_path / "scored", min(count, 3)))
    with member(location, tmp_path) as process:
        together = led(problem, location, tmp_path, wanted)
        told, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert int(told) >= 1
    check_each_once(location)
    check_same(together, alone)


def test_one_process_that_others_may_join_finds_what_it_finds_alone(problem: Problem, tmp_path: Path) -> None:
    wanted = settings(sampler="tpe", n_trials=14)
    alone = search(problem, wanted, storage=InMemoryStorage())
    check_same(led(problem, str(tmp_path / "s.jsonl"), tmp_path, wanted), alone)


@pytest.mark.parametrize("location", ["postgres", "mysql", "proxy-journal"], indirect=True)
def test_a_worker_that_is_killed_in_a_trial_loses_none(
    problem: Problem, location: str, tmp_path: Path
) -> None:
    wanted = settings()
    alone = search(problem, wanted, storage=InMemoryStorage())
    with member(location, tmp_path, "hangs") as process:

        def kill(count: int) -> None:
            wait_for(tmp_path / "scored")
            os.kill(process.pid, signal.SIGKILL)

        in_trials(location, kill)
        together = led(problem, location, tmp_path, wanted)
    failed = [t for t in study_in(location).trials if t.state == TrialState.FAIL]
    assert [trial.user_attrs[WHY] for trial in failed] == [
        f"process {process.pid} on {os.uname().nodename} has gone"
    ]
    check_each_once(location)
    check_same(together, alone)


def test_a_database_that_stops_and_starts_again_loses_nothing(
    problem: Problem, database: Server, tmp_path: Path
) -> None:
    wanted = settings()
    alone = search(problem, wanted, storage=InMemoryStorage())

    fallen = []

    def fall(count: int) -> None:
        wait_for(tmp_path / "scored")
        if not fallen:
            fallen.append(count)
            database.stop()
            Timer(4.0, database.start).start()

    in_trials(database.url, fall)
    with member(database.url, tmp_path) as process:
        together = led(problem, database.url, tmp_path, wanted)
        told, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert int(told) >= 1
    assert fallen
    check_each_once(database.url)
    check_same(together, alone)


def test_a_session_that_breaks_within_a_call_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna then goes on in the broken session, and the error that it ends with tells nothing of a connection."""
    storage: Any = opened(f"sqlite:///{tmp_path}/s.db", 5.0)
    direct, calls = storage.direct, []
    ask = direct.get_all_studies

    def breaks_once() -> Any:
        calls.append(len(calls))
        if len(calls) == 1:
            raise optuna.exceptions.StorageInternalError from PendingRollbackError("begin again")
        return ask()

    monkeypatch.setattr(direct, "get_all_studies", breaks_once)
    assert storage.get_all_studies() == []
    assert calls == [0, 1]


def test_a_database_that_stays_away_ends_the_search_after_a_while(problem: Problem, database: Server) -> None:
    wanted = settings()
    storage = opened(database.url, 1.0)
    in_trials(database.url, lambda count: database.stop() if count == 2 else None)
    try:
        began = time.monotonic()
        with pytest.raises(optuna.exceptions.StorageInternalError):
            search(problem, wanted, storage=storage)
        assert time.monotonic() - began >= 1.0
    finally:
        database.start()
    Marked.meanwhile = staticmethod(lambda count: None)
    alone = search(problem, wanted, storage=InMemoryStorage())
    check_same(search(problem, wanted, storage=opened(database.url)), alone)


def other_weights(task: Task) -> Task:
    torch.manual_seed(1)
    model = testing.tiny_task().model
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    return replace(task, model=model)


def other_data(task: Task) -> Task:
    return replace(task, splits=None, seed=5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("other", "what"), [(other_weights, "weights"), (other_data, "calibration images")])
def test_a_stranger_is_refused(
    problem: Problem, postgres: Any, tmp_path: Path, other: Callable[[Task], Task], what: str
) -> None:
    storage = opened(postgres.url)
    with (
        shared(problem, settings(), storage, Artifacts.at(tmp_path / "a")),
        pytest.raises(
            MismatchError, match=rf"^worker, {what}: expected \w+…, as where the search is led, got"
        ),
    ):
        work(other(problem.task), opened(postgres.url), "shared", timeout=5.0)
    assert not [s for s in storage.get_all_studies() if s.study_name.endswith("marked")]


def test_other_versions_are_refused(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = str(tmp_path / "s.jsonl")
    with shared(problem, settings(), opened(location), Artifacts.at(tmp_path / "a")):
        monkeypatch.setattr(
            "ranksearch.searching.sharing.package_versions", lambda: {"torch": "0.1", "python": "3"}
        )
        with pytest.raises(
            MismatchError, match=r"worker, torch: expected .*got 0\.1\. Install the same version"
        ):
            work(problem.task, opened(location), "shared", timeout=5.0)


def test_shared_files_that_were_changed_are_refused(problem: Problem, tmp_path: Path) -> None:
    location, artifacts = str(tmp_path / "s.jsonl"), Artifacts.at(tmp_path / "a")
    member = replace(problem.task, cache=tmp_path / "member")
    with shared(problem, settings(), opened(location), artifacts):
        with pytest.raises(
            InputError, match="artifacts: expected where the files of the search are, got nothing"
        ):
            work(member, opened(location), "shared", timeout=5.0)
        for file in (tmp_path / "a").iterdir():
            content = bytearray(file.read_bytes())
            content[-1] ^= 1
            file.write_bytes(content)
        with pytest.raises(MismatchError, match=r"artifacts, .*expected the content that was shared"):
            work(member, opened(location), "shared", artifacts=artifacts, timeout=5.0)


def test_a_search_that_is_led_again_shares_the_same_files(problem: Problem, tmp_path: Path) -> None:
    location, artifacts = str(tmp_path / "s.jsonl"), Artifacts.at(tmp_path / "a")
    for _ in range(2):
        with shared(problem, settings(), opened(location), artifacts):
            files = {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()}
    with shared(problem, settings(), opened(location), artifacts):
        assert {file.name: file.read_bytes() for file in (tmp_path / "a").iterdir()} == files
    tables = [json.loads(content) for content in files.values() if content.startswith(b'{"version":1')]
    assert len(tables) == 1


def test_what_cannot_be_shared_is_told(problem: Problem, tmp_path: Path) -> None:
    artifacts = Artifacts.at(tmp_path / "a")
    alone = replace(problem, task=replace(problem.task, cache=None))
    with (
        pytest.raises(InputError, match="cache: expected a folder"),
        shared(alone, settings(), opened(str(tmp_path / "s.jsonl")), artifacts),
    ):
        pass
    with (
        pytest.raises(InputError, match="storage: expected one that others reach"),
        shared(problem, settings(), InMemoryStorage(), artifacts),
    ):
        pass


def test_nobody_to_join(problem: Problem, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="study_name: expected a search that is under way, named 'shared', got none"
    ):
        work(problem.task, opened(str(tmp_path / "s.jsonl")), "shared", timeout=0.0)


# ---- the queue ----


def queue_in(location: str, total: int = 5, **own: Any) -> Queue:
    with_name = {"study_name": "q", "load_if_exists": True}
    return Queue(optuna.create_study(storage=opened(location), **with_name), total, **own)


def fill(queue: Queue, most: int) -> None:
    queue.fill(most, queue.look())


def test_no_trial_is_claimed_twice(location: str) -> None:
    fill(queue_in(location, 24), 24)

    def claim_all(_: int) -> list[int]:
        own, found = queue_in(location, 24), []
        while (claimed := own.claim(own.look())) is not None:
            found.append(claimed.ordinal)
        return found

    with ThreadPoolExecutor(4) as pool:
        claimed = [ordinal for own in pool.map(claim_all, range(4)) for ordinal in own]
    assert sorted(claimed) == list(range(24))


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_a_trial_that_another_finishes_before_its_leader_has_noted_it_is_not_waited_for(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader = queue_in(location, 2)
    create = RDBStorage._create_new_trial

    def slowly(storage: RDBStorage, *given: Any, **more: Any) -> FrozenTrial:
        made = create(storage, *given, **more)
        other = queue_in(location, 2)
        while (claimed := other.claim(other.look())) is not None:
            other.study.tell(claimed.ordinal, 0.5)
        finished(leader.study)  # as the thread does that runs trials
        return made

    def never(trial: optuna.Trial, before: list[FrozenTrial]) -> float:
        raise AssertionError("it was run here too")

    monkeypatch.setattr(RDBStorage, "_create_new_trial", slowly)
    with leading(leader.study._storage, "q") as board:
        leads = Thread(
            target=lambda: run_trials(leader, never, sampler="random", seed=0, board=board), daemon=True
        )
        leads.start()
        leads.join(20.0)
        assert not leads.is_alive()
    assert [trial.state for trial in leader.study.trials] == [TrialState.COMPLETE] * 2


def test_what_is_queued_says_what_it_is(tmp_path: Path) -> None:
    own = queue_in(str(tmp_path / "s"), 3, queued=lambda k: Queued({"x": k}, {"origin": f"no. {k}"}))
    fill(own, 1)
    assert [t.user_attrs for t in own.study.trials] == [{ORDINAL: 0, "origin": "no. 0"}]
    fill(own, 9)
    fill(own, 9)
    assert [(ordinal_of(t), t.system_attrs["fixed_params"]) for t in own.study.trials] == [
        (k, {"x": k}) for k in range(3)
    ]


def test_who_is_silent_loses_its_trial_and_who_speaks_keeps_it(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "EXPIRY", 0.5)
    leader, dead, living = queue_in(location, 2), queue_in(location, 2), queue_in(location, 2)
    fill(leader, 9)
    signs = [{**life.new_sign(), "place": None}, {**life.new_sign(), "place": None}]
    for number, own in enumerate((dead, living)):
        claimed = own.claim(own.look())
        assert claimed is not None
        own.study._storage.set_trial_user_attr(claimed.trial._trial_id, WORKER, signs[number])
    begun, beats = time.monotonic(), 0
    while time.monotonic() - begun < 1.5:
        beats += 1
        living.study._storage.set_trial_user_attr(
            claimed.trial._trial_id, WORKER, {**signs[1], "beat": beats}
        )
        leader.mend()
        time.sleep(0.05)
    assert [(t.state.name, ordinal_of(t)) for t in leader.study.trials] == [
        ("FAIL", 0), ("RUNNING", 1), ("WAITING", 0)
    ]  # fmt: skip


def test_time_in_which_nobody_looked_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(life.time, "monotonic", lambda: now[0])
    watch = life.Watch()
    sign = {**life.new_sign(), "place": None}
    assert not watch.is_dead("a", sign)
    now[0] = 1000.0  # the storage was away
    assert not watch.is_dead("a", sign)
    for _ in range(40):
        now[0] += 0.05
        watch.silent("a", sign)
    assert watch.is_dead("a", sign)
    assert not watch.is_dead("a", {**sign, "beat": 1})


@pytest.mark.parametrize(("why", "lost"), [("ValueError: no", True), (LEFT, False)])
def test_what_fails_is_tried_once_more(tmp_path: Path, why: str, lost: bool) -> None:
    own = queue_in(str(tmp_path / "s"), 1)
    own.mend()
    for _ in range(3):
        claimed = own.claim(own.look())
        if claimed is None:
            break
        fail(own.study, own.study.trials[-1], why)
        own.mend()
    assert bool(own.lost) == lost
    assert len(own.study.trials) == (2 if lost else 4)
    if lost:
        with pytest.raises(TrialError, match="trial 0, which failed twice, at last because ValueError: no"):
            run_trials(own, lambda trial, before: 0.0, sampler="random", seed=0)


def test_a_trial_that_was_given_up_is_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = queue_in(str(tmp_path / "s"), 1)
    fill(own, 9)

    def given_up(trial: optuna.Trial, before: list[FrozenTrial]) -> float:
        fail(own.study, own.study.trials[0], "taken for dead")
        return 0.0

    assert run_next(own, given_up, own.look(), sampler="random", seed=0, signs=True, joined=True)
    assert [trial.state for trial in own.study.trials] == [TrialState.FAIL]
    assert "given up to others" in caplog.text
