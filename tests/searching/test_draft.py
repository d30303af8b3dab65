"""Trials in a database, of which everything is written when they end: what is kept is what is kept without that."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from ranksearch.searching.studies import Queue, Queued, open_storage
from ranksearch.searching.studies.patient import close
from ranksearch.searching.studies.queue import fail
from ranksearch.searching.studies.trials import run_next

DATABASES = pytest.mark.parametrize("location", ["sqlite", "postgres", "mysql"], indirect=True)


@contextmanager
def opened(location: str) -> Iterator[BaseStorage]:
    storage = open_storage(location)
    try:
        yield storage
    finally:
        close(storage)


def queue_in(storage: BaseStorage, total: int) -> Queue:
    study = optuna.create_study(
        storage=storage, study_name="q", load_if_exists=True, pruner=optuna.pruners.ThresholdPruner(upper=5.0)
    )
    return Queue(
        study, total, lambda ordinal: Queued({"x": 0.25} if ordinal == 1 else {}, {"choice": [ordinal]})
    )


def evaluate(trial: optuna.Trial, before: list[FrozenTrial]) -> float:
    """A trial that does everything that a trial can do; the third is pruned, the fourth fails."""
    x, kind = trial.suggest_float("x", 0, 1), trial.suggest_categorical("kind", ["a", "b"])
    k = trial.suggest_int("k", 1, 8, log=True)
    trial.set_user_attr("choice", [trial.number, k])  # which it was queued with
    trial.set_user_attr("ranks", {"layer": k, "kind": kind})
    trial.set_constraint("budget", x - 0.5)
    assert trial.constraints == {"budget": x - 0.5}
    assert trial.user_attrs["ranks"]["layer"] == k
    assert trial.suggest_float("x", 0, 1) == x
    for step in range(3):
        trial.report(step * trial.number, step)
        if trial.number == 3 and trial.should_prune():
            raise optuna.TrialPruned
    if trial.number == 2:
        raise RuntimeError("no")
    return x + k


def run(storage: BaseStorage, total: int = 5) -> list[dict[str, Any]]:
    """What is kept of the trials, without times."""
    queue = queue_in(storage, total)
    for _ in range(total):
        queue.fill(1, queue.look())
        try:
            run_next(queue, evaluate, queue.look(), sampler="random", seed=0, signs=False)
        except RuntimeError as error:
            assert str(error) == "no"  # noqa: PT017
    return [told(trial) for trial in optuna.load_study(study_name="q", storage=storage).trials]


def told(trial: FrozenTrial) -> dict[str, Any]:
    fields = (
        "number",
        "state",
        "values",
        "params",
        "distributions",
        "user_attrs",
        "system_attrs",
        "intermediate_values",
    )
    times = {"began": trial.datetime_start is not None, "ended": trial.datetime_complete is not None}
    return {name: getattr(trial, name) for name in fields} | times


@DATABASES
def test_what_is_kept_of_a_trial_is_all_that_it_has_said(location: str) -> None:
    wanted = run(InMemoryStorage())
    assert {trial["state"] for trial in wanted} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}
    with opened(location) as storage:
        assert run(storage) == wanted
    with opened(location) as storage:  # read by somebody else
        found = optuna.load_study(study_name="q", storage=storage).trials
    assert [told(trial) for trial in found] == wanted


@DATABASES
def test_nothing_of_it_is_there_before(location: str) -> None:
    def looked_at(trial: optuna.Trial, before: list[FrozenTrial]) -> float:
        value = evaluate(trial, before)
        with opened(location) as other:
            (seen,) = optuna.load_study(study_name="q", storage=other).trials
        assert (seen.state, seen.params) == (TrialState.RUNNING, {})
        assert seen.user_attrs.keys() == {"ordinal", "choice", "worker"}
        assert seen.user_attrs["choice"] == [0]
        assert seen.intermediate_values == {0: 0.0, 1: 0.0, 2: 0.0}  # which other trials are pruned by
        return value

    with opened(location) as storage:
        queue = queue_in(storage, 1)
        queue.fill(1, queue.look())
        assert run_next(queue, looked_at, queue.look(), sampler="random", seed=0, signs=True)
        (trial,) = queue.look()
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs["worker"]["token"] == queue.own["token"]


@DATABASES
def test_a_trial_that_others_have_given_up_stays_as_they_left_it(
    location: str, caplog: pytest.LogCaptureFixture
) -> None:
    def given_up(trial: optuna.Trial, before: list[FrozenTrial]) -> float:
        with opened(location) as other:
            study = optuna.load_study(study_name="q", storage=other)
            assert fail(study, study.trials[0], "taken for dead")
        return evaluate(trial, before)

    with opened(location) as storage:
        queue = queue_in(storage, 1)
        queue.fill(1, queue.look())
        run_next(queue, given_up, queue.look(), sampler="random", seed=0, signs=True, joined=True)
        (trial,) = queue.look()
    assert (trial.state, trial.params, trial.values) == (TrialState.FAIL, {}, None)
    assert "given up to others" in caplog.text


@DATABASES
def test_parameters_of_another_kind_are_refused_when_they_are_suggested(location: str) -> None:
    def other(trial: optuna.Trial, before: list[FrozenTrial]) -> float:
        trial.suggest_categorical("x", ["a", "b"])
        raise AssertionError("it was accepted")

    with opened(location) as storage:
        run(storage, 2)
        queue = queue_in(storage, 3)
        queue.fill(1, queue.look())
        with pytest.raises(ValueError, match="different distribution kind"):
            run_next(queue, other, queue.look(), sampler="random", seed=0, signs=False)


def statements(storage: Any, study: Study, parameters: int) -> int:
    """How many statements it takes to run a trial with so many parameters and attributes."""
    seen: list[str] = []
    queue = Queue(study, 1)
    queue.fill(1, queue.look())

    def score(trial: optuna.Trial, before: list[FrozenTrial]) -> float:
        for number in range(parameters):
            trial.set_user_attr(f"a{number}", trial.suggest_float(f"x{number}", 0, 1))
        return 0.0

    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        seen.append(statement)

    engine = storage._uncached.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        run_next(queue, score, queue.look(), sampler="random", seed=0, signs=False)
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return len(seen)


def test_a_trial_takes_no_more_statements_if_it_has_more_to_say(tmp_path: Path) -> None:
    logging.getLogger("optuna").setLevel(logging.WARNING)
    with opened(f"sqlite:///{tmp_path}/s.db") as storage:
        few, many = (
            statements(storage, optuna.create_study(storage=storage, study_name=f"{count}"), count)
            for count in (1, 40)
        )
    assert few == many
    assert many <= 20
