"""One study of plans, by Optuna's ask-and-tell interface, and its records.

Finished trials are the only state. Everything that a plan's record needs is in the trial's own attributes
before its value is reported, so a killed run loses only the current trial.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.searching.studies.registry import SAMPLERS

BROKEN = 1e9
"""Represents an infinite score in a study: samplers and databases need finite numbers."""

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def open_study(storage: BaseStorage, name: str, made_for: Mapping[str, Any], pruner: BasePruner) -> Study:
    """The study of that name, new or continued; trials that a killed run left running are marked as failed.

    Raises MismatchError if the study was made for something other than `made_for`.
    """
    study = optuna.create_study(
        storage=storage, study_name=name, direction="minimize", pruner=pruner, load_if_exists=True
    )
    known = study.user_attrs.get("made for")
    if known is None:
        study.set_user_attr("made for", dict(made_for))
    else:
        for key, wanted in made_for.items():
            if known.get(key) != wanted:
                what, way_out = f"{key} of study {name!r}", "Choose another `study_name` or `storage`."
                raise MismatchError(expected(what, repr(known.get(key)), repr(wanted), way_out))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study


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

    Raises InputError if another process has opened the study in the meantime and thereby failed the current trial.
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
        got = "one that another process has opened"
        way_out = "Choose another `study_name` or `storage`."
        raise InputError(
            expected(f"study {study.study_name!r}", "a study that no other process is using", got, way_out)
        ) from error


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
