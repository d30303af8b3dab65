"""One study of plans: opened, its trials run, its records.

Finished trials are the only state. Everything that a plan's record needs is in the trial's own attributes
before its value is reported, so a killed run loses only the current trial.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from math import isfinite
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from ranksearch.errors import InputError, MismatchError, RankSearchError, expected, told
from ranksearch.redaction import redact
from ranksearch.searching.studies.board import Board
from ranksearch.searching.studies.draft import drafted
from ranksearch.searching.studies.lease import leased
from ranksearch.searching.studies.life import repeating
from ranksearch.searching.studies.patient import apart, is_away
from ranksearch.searching.studies.queue import (
    AHEAD,
    FINISHED,
    LEFT,
    WHY,
    WORKER,
    Claim,
    Queue,
    alive,
    check_ordinals,
    count_waiting,
    finished,
    finished_of,
)
from ranksearch.searching.studies.registry import SAMPLERS

log = logging.getLogger(__name__)

CHOOSE_ANOTHER = "Choose another `study_name` or `storage`."

BROKEN = 1e9
"""Represents an infinite score in a study: samplers and databases need finite numbers."""


class TrialError(RankSearchError):
    """A trial failed wherever it was run."""


Evaluate = Callable[[Trial, list[FrozenTrial]], float]
"""Gives a trial its value; it also gets the trials that were finished when this one began."""

POLL = 0.25
"""Seconds between looks at a study whose trials are all with others."""


def open_study(
    storage: BaseStorage,
    name: str,
    made_for: Mapping[str, Any],
    pruner: BasePruner,
    leases: ExitStack,
    *,
    shared: bool = False,
) -> Study:
    """The study of that name, new or continued; trials that a killed run left running are marked as failed.

    leases: Holds the study for this process until it is closed. shared: whether others may be at work on its trials, so
    that those that run are left to them for as long as they are alive. Raises MismatchError if the study was made for
    something other than `made_for`, and InputError if another process is at work on it.
    """
    with _readable(name):
        study = optuna.create_study(
            storage=storage, study_name=name, direction="minimize", pruner=pruner, load_if_exists=True
        )
        known, trials = study.user_attrs.get("made for"), study.get_trials(deepcopy=False)
        minimised = study.directions == [StudyDirection.MINIMIZE]
    unmarked = known is None and any(trial.state in FINISHED for trial in trials)
    if not minimised or unmarked or not isinstance(known, dict | None):
        raise MismatchError(
            expected(f"study {name!r}", "one that ranksearch made", "another one", CHOOSE_ANOTHER)
        )
    if known is None:
        study.set_user_attr("made for", dict(made_for))
    else:
        for key, wanted in made_for.items():
            if known.get(key) != wanted:
                what = f"{key} of study {name!r}"
                raise MismatchError(expected(what, repr(known.get(key)), repr(wanted), CHOOSE_ANOTHER))
    leases.enter_context(leased(study))
    with _readable(name):
        check_ordinals(study, CHOOSE_ANOTHER)
        for trial in study.get_trials(deepcopy=False):
            if trial.state == TrialState.RUNNING and not (shared and WORKER in trial.user_attrs):
                study.tell(trial.number, state=TrialState.FAIL)
    return study


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Whatever Optuna and a database raise on what is stored, told in one line; a full disk is no fault of it."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        if is_away(error):
            raise
        got = redact(told(error))
        raise MismatchError(
            expected(f"study {name!r}", "a study that can be read", got, CHOOSE_ANOTHER)
        ) from error


@contextmanager
def same_parameters(study: Study, what: str) -> Iterator[None]:
    """Raises MismatchError in place of what Optuna raises where stored trials have other parameters than those that
    `what` suggests; without stored trials the mistake is in `what` itself."""
    try:
        yield
    except ValueError as error:
        if not finished(study):
            raise
        wanted = f"the parameters of {what} as they were"
        name = f"study {study.study_name!r}"
        raise MismatchError(expected(name, wanted, told(error), CHOOSE_ANOTHER)) from error


def run_trials(
    queue: Queue,
    evaluate: Evaluate,
    *,
    sampler: str,
    seed: int,
    deadline: float | None = None,
    after: Callable[[list[FrozenTrial]], None] = lambda done: None,
    board: Board | None = None,
) -> None:
    """Lead the work on the trials of a study until they are finished: queue them, and run what nobody else does.

    `evaluate` returns the value, or raises TrialPruned; any other exception fails the trial and ends the loop. After
    `deadline` (of `time.monotonic`) no trial starts, except the first. `after` gets those that are finished. board:
    where others find the study to work on its trials too; None where nobody else does.

    Raises InputError if a process to which this one seemed dead has taken the study and failed the current trial, and
    TrialError if a trial failed twice in other processes.
    """

    def late() -> bool:
        return deadline is not None and time.monotonic() >= deadline and bool(done)

    trials = queue.look()
    done = finished_of(trials)
    # It is cared for by a thread of its own.
    caring = queue if board is None else replace(queue, study=apart(queue.study))

    def mend() -> None:
        caring.mend()
        if late() and board is not None:
            board.close()

    def queue_more() -> None:
        """Wake the thread that does; without a board trials are queued below."""

    with ExitStack() as shared:
        if board is not None:
            mend()
            shared.enter_context(board.opened(queue.study, queue.total))
            care = f"care for {queue.study.study_name}"
            queue_more = shared.enter_context(repeating(mend, care, every=2 * POLL))
        while len(done) < queue.total:
            if caring.lost:
                raise TrialError(expected(f"study {queue.study.study_name!r}", _EVERY, caring.lost, _RESUME))
            if late():
                if board is None or not queue.runs():
                    return
                board.close()
                time.sleep(POLL)
                trials = queue.look()
                done = finished_of(trials)
                continue
            if board is None:
                # One by one, so that trials that are repeated are numbered as if they had not been: samplers may look
                # at their order.
                queue.fill(1, trials)
                trials = queue.look()
            ran = run_next(queue, evaluate, trials, sampler=sampler, seed=seed, signs=board is not None)
            if not ran:
                time.sleep(POLL)
            trials = queue.look()
            if ran and count_waiting(trials) < AHEAD:
                queue_more()
            before, done = done, finished_of(trials)
            if len(done) > len(before):
                after(done)


_EVERY = "trials that each end with a score"
_RESUME = "What is finished is kept; `resume` tries the others again."


def run_next(
    queue: Queue,
    evaluate: Evaluate,
    trials: list[FrozenTrial],
    *,
    sampler: str,
    seed: int,
    signs: bool,
    joined: bool = False,
) -> Claim | None:
    """Claim a trial, evaluate and tell; None where there was none to claim.

    Its ordinal, and not the trial's number, which counts failed trials too, seeds the sampler. trials: those of the
    study, as they have just been read. signs: whether to leave signs of life in it. joined: whether another process
    leads the work, and may have given this one up.
    """
    claimed = queue.claim(trials)
    if claimed is None:
        return None
    study = drafted(queue.study, claimed.trial, claimed.finished)
    study.sampler = fresh_sampler(sampler, seed, claimed.ordinal)
    with alive(queue.study, claimed.trial._trial_id, queue.own) if signs else nullcontext():
        trial = Trial(study, claimed.trial._trial_id)
        try:
            value = evaluate(trial, claimed.finished)
        except optuna.TrialPruned:
            _tell(study, trial, state=TrialState.PRUNED, joined=joined)
        except UpdateFinishedTrialError as error:
            _given_up(study, trial, error, joined=joined)
        except BaseException as error:
            with suppress(Exception) if joined else nullcontext():  # the database may be what failed
                why = redact(told(error)) if isinstance(error, Exception) else LEFT
                _tell(study, trial, state=TrialState.FAIL, why=why, joined=joined)
            raise
        else:
            _tell(study, trial, storable(value), joined=joined)
    return claimed


def fresh_sampler(name: str, seed: int, ordinal: int) -> BaseSampler:
    """A sampler whose only state is the study, seeded by the ordinal of the trial.

    A study that was killed and resumed therefore continues exactly like an uninterrupted one, and a sampler that does
    not look at other trials proposes the same whoever runs which.
    """
    return SAMPLERS.get(name).of_trial(seed, ordinal)


def _tell(
    study: Study,
    trial: Trial,
    value: float | None = None,
    state: TrialState | None = None,
    why: str | None = None,
    *,
    joined: bool,
) -> None:
    try:
        if why is not None:
            trial.set_user_attr(WHY, why)
        study.tell(trial, value, state=state)
    except (ValueError, UpdateFinishedTrialError) as error:
        found = study.get_trials(deepcopy=False)[trial.number].state
        if found == (state or TrialState.COMPLETE):  # told, though the answer was lost
            return
        if found != TrialState.FAIL:
            raise
        _given_up(study, trial, error, joined=joined)


def _given_up(study: Study, trial: Trial, error: Exception, *, joined: bool) -> None:
    """Another process has taken this one for dead, and failed its trial."""
    if joined:
        log.warning("trial %d was given up to others meanwhile", trial.number)
        return
    got = "one that another process has taken"
    wanted = "a study that no other process is using"
    raise InputError(expected(f"study {study.study_name!r}", wanted, got, CHOOSE_ANOTHER)) from error


def reporter(trial: Trial) -> Callable[[int, float], None]:
    """Reports to the trial; raises TrialPruned if the study's pruner decides so."""

    def report(step: int, value: float) -> None:
        trial.report(storable(value), step)
        if trial.should_prune():
            raise optuna.TrialPruned

    return report


def storable(value: float) -> float:
    """A score as a study stores it."""
    return min(value, BROKEN) if isfinite(value) else BROKEN


def restored(value: float) -> float:
    """A score as it was before it was stored."""
    return value if value < BROKEN else float("inf")
