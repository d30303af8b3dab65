"""One study of plans, by Optuna's ask-and-tell interface, and its records.

Finished trials are the only state. Everything that a plan's record needs is in the trial's own attributes
before its value is reported, so a killed run loses only the current trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from math import isfinite
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from ranksearch.errors import InputError, MismatchError, expected, told
from ranksearch.redaction import redact
from ranksearch.searching.studies.lease import leased
from ranksearch.searching.studies.registry import SAMPLERS

CHOOSE_ANOTHER = "Choose another `study_name` or `storage`."

BROKEN = 1e9
"""Represents an infinite score in a study: samplers and databases need finite numbers."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(
    storage: BaseStorage, name: str, made_for: Mapping[str, Any], pruner: BasePruner, leases: ExitStack
) -> Study:
    """The study of that name, new or continued; trials that a killed run left running are marked as failed.

    leases: Holds the study for this process until it is closed. Raises MismatchError if the study was made for
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
        for trial in study.get_trials(deepcopy=False):
            if trial.state == TrialState.RUNNING:
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


def finished(study: Study) -> list[FrozenTrial]:
    """Trials with an outcome, in order."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def run_trials(
    study: Study,
    evaluate: Callable[[Trial, int], float],
    *,
    total: int,
    sampler: str,
    seed: int,
    fixed: Callable[[int], dict[str, Any] | None] = lambda ordinal: None,
    deadline: float | None = None,
    after: Callable[[int], None] = lambda done: None,
) -> None:
    """Ask, evaluate and tell until `total` trials are finished.

    The ordinal of a trial is the number of finished ones before it; it, and not the trial's number, which
    counts failed trials too, seeds the sampler. `fixed(ordinal)` may dictate the parameters. `evaluate`
    returns the value, or raises TrialPruned; any other exception fails the trial and ends the loop.
    After `deadline` (of `time.monotonic`) no trial starts, except the first.

    Raises InputError if a process to which this one seemed dead has taken the study and failed the current trial.
    """
    while (ordinal := len(finished(study))) < total:
        if deadline is not None and ordinal and time.monotonic() >= deadline:
            return
        params = fixed(ordinal)
        if params is not None and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial(params)
        study.sampler = fresh_sampler(sampler, seed, ordinal)
        trial = study.ask()
        try:
            value = evaluate(trial, ordinal)
        except optuna.TrialPruned:
            _tell(study, trial, state=TrialState.PRUNED)
        except BaseException:
            _tell(study, trial, state=TrialState.FAIL)
            raise
        else:
            _tell(study, trial, storable(value))
        after(ordinal + 1)


def fresh_sampler(name: str, seed: int, ordinal: int) -> BaseSampler:
    """A sampler whose only state is the study, seeded by the number of finished trials.

    A study that was killed and resumed therefore continues exactly like an uninterrupted one.
    """
    return SAMPLERS.get(name).make(int(np.random.SeedSequence([seed, ordinal]).generate_state(1)[0]))


def _tell(study: Study, trial: Trial, value: float | None = None, state: TrialState | None = None) -> None:
    try:
        study.tell(trial, value, state=state)
    except ValueError as error:
        if study.get_trials(deepcopy=False)[trial.number].state != TrialState.FAIL:
            raise
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
