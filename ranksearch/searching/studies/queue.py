"""The trials of a study as a queue that many processes work on.

Every trial is queued under its ordinal, claimed by changing its state from waiting to running, which storages do for
one process alone, and finished or failed. An ordinal that is neither finished nor under way is queued again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ranksearch.errors import MismatchError, expected
from ranksearch.searching.studies.life import Sign, Watch, named, new_sign, repeating, sign_in
from ranksearch.searching.studies.patient import impatient

log = logging.getLogger(__name__)

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
UNDER_WAY = (TrialState.WAITING, TrialState.RUNNING)

ORDINAL = "ordinal"
"""The attribute of a trial with its place among the trials of its study."""

WORKER = "worker"
"""The attribute of a trial with the sign of life of who runs it, where several may."""

WHY = "failed because"
"""The attribute of a failed trial with the reason, where its worker has found one."""

LEFT = "its worker was stopped"
"""The reason that is nobody's fault."""


@dataclass(frozen=True)
class Queued:
    """What a trial is queued with: parameters that are fixed, and attributes."""

    params: Mapping[str, Any] = field(default_factory=dict)
    attrs: Mapping[str, Any] = field(default_factory=dict)


def finished(study: Study) -> list[FrozenTrial]:
    """Trials with an outcome, by ordinal."""
    return list(_by_ordinal(study.get_trials(deepcopy=False), FINISHED).values())


def ordinal_of(trial: FrozenTrial) -> int | None:
    """The ordinal of a trial; None for one from before there were any."""
    return trial.user_attrs.get(ORDINAL)


def place(trial: FrozenTrial) -> tuple[bool, int]:
    """Where a trial stands among those of its study: by ordinal, after those from before there were any."""
    ordinal = ordinal_of(trial)
    return (False, trial.number) if ordinal is None else (True, ordinal)


def _by_ordinal(trials: list[FrozenTrial], states: Container[TrialState]) -> dict[int, FrozenTrial]:
    """The trials in some states by ordinal, ascending. Those from before there were ordinals come first."""
    found: dict[int, FrozenTrial] = {}
    for trial in sorted((trial for trial in trials if trial.state in states), key=place):
        found.setdefault(trial.user_attrs.get(ORDINAL, len(found)), trial)
    return found


@dataclass
class Queue:
    """The first `total` trials of a study; `queued` says what one is queued with.

    own: the sign of this process. again: how often a trial was queued again since this process leads the work. lost:
    what is known of a trial that failed twice meanwhile.
    """

    study: Study
    total: int
    queued: Callable[[int], Queued] = lambda ordinal: Queued()
    own: Sign = field(default_factory=new_sign)
    again: Counter[int] = field(default_factory=Counter)
    lost: str = ""
    _watch: Watch = field(default_factory=Watch)

    def fill(self, most: int | None = None) -> None:
        """Queue trials that are neither finished nor under way, in their order: all, or until so many wait."""
        trials = self.study.get_trials(deepcopy=False)
        known = {*_by_ordinal(trials, FINISHED), *_numbered(trials, UNDER_WAY)}
        # A process of an older version was killed between queueing it and asking for it.
        strays = [t for t in trials if t.state == TrialState.WAITING and ORDINAL not in t.user_attrs]
        missing = [ordinal for ordinal in range(self.total) if ordinal not in known]
        if most is not None:
            missing = missing[: max(0, most - len(_numbered(trials, (TrialState.WAITING,))))]
        for ordinal in missing:
            wanted = self.queued(ordinal)
            attrs = {ORDINAL: ordinal, **wanted.attrs}
            if strays:
                stray = strays.pop(0)
                for key, value in attrs.items():
                    self.study._storage.set_trial_user_attr(stray._trial_id, key, value)
            else:
                self.study.enqueue_trial(dict(wanted.params), attrs)

    def mend(self) -> None:
        """Fail the trials whose workers have gone, and queue again what failed, once."""
        trials = self.study.get_trials(deepcopy=False)
        for trial in trials:
            sign = sign_in(trial.user_attrs, WORKER)
            if trial.state != TrialState.RUNNING or (sign or {}).get("token") == self.own["token"]:
                continue
            if self._watch.is_dead(trial.number, sign) and fail(self.study, trial, f"{named(sign)} has gone"):
                log.warning("trial %s: %s has gone", trial.user_attrs.get(ORDINAL), named(sign))
        trials = self.study.get_trials(deepcopy=False)
        known = {*_by_ordinal(trials, FINISHED), *_numbered(trials, UNDER_WAY)}
        for ordinal, trial in _numbered(trials, (TrialState.FAIL,)).items():
            if ordinal in known or ordinal >= self.total:
                continue
            why = trial.user_attrs.get(WHY)
            self.again[ordinal] += why != LEFT
            if self.again[ordinal] > 1:
                self.lost = f"trial {ordinal}, which failed twice, at last because {why!s:.400}"
                return
        self.fill()

    def claim(self) -> tuple[int, int] | None:
        """The id and the ordinal of a trial that this process alone runs from now on; None where none waits."""
        trials = self.study.get_trials(deepcopy=False)
        begun = {*_by_ordinal(trials, FINISHED), *_numbered(trials, (TrialState.RUNNING,))}
        for ordinal, trial in sorted(_numbered(trials, (TrialState.WAITING,)).items()):
            if ordinal in begun or ordinal >= self.total:
                continue
            with suppress(UpdateFinishedTrialError):
                if self.study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    return trial._trial_id, ordinal
        return None

    def done(self) -> int:
        """How many of the trials are finished."""
        found = _by_ordinal(self.study.get_trials(deepcopy=False), FINISHED)
        return sum(ordinal < self.total for ordinal in found)

    def runs(self) -> bool:
        """Whether a trial is running."""
        return bool(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))


def _numbered(trials: list[FrozenTrial], states: Container[TrialState]) -> dict[int, FrozenTrial]:
    """The last trial of each ordinal that is in one of the states."""
    return {t.user_attrs[ORDINAL]: t for t in trials if t.state in states and ORDINAL in t.user_attrs}


def fail(study: Study, trial: FrozenTrial, why: str) -> bool:
    """Fail a trial, unless it is finished meanwhile."""
    try:
        study._storage.set_trial_user_attr(trial._trial_id, WHY, why)
        return study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False


@contextmanager
def alive(study: Study, trial_id: int, own: Sign) -> Iterator[None]:
    """Leave signs of life in a trial that this process runs."""
    study._storage.set_trial_user_attr(trial_id, WORKER, {**own, "beat": 0})
    storage, beats = impatient(study)._storage, Counter({"beat": 0})

    def beat() -> None:
        beats["beat"] += 1
        storage.set_trial_user_attr(trial_id, WORKER, own | beats)

    with repeating(beat, f"signs of life of {study.study_name}"):
        yield


def check_ordinals(study: Study, way_out: str) -> None:
    """Raise MismatchError where somebody else has changed the ordinals of a study's trials."""
    for trial in study.get_trials(deepcopy=False):
        ordinal = trial.user_attrs.get(ORDINAL)
        if ordinal is not None and not (type(ordinal) is int and ordinal >= 0):
            what = f"trial {trial.number} of study {study.study_name!r}"
            wanted = "an ordinal that is a whole number, 0 or more"
            raise MismatchError(expected(what, wanted, f"ordinal {ordinal!r:.60}", way_out))
