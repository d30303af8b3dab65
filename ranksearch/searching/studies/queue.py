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

AHEAD = 2
"""Trials that wait while others may join, and as many more for each that runs."""

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


@dataclass(frozen=True)
class Claim:
    """A trial that was claimed: as it was queued, its ordinal, and the trials that were finished before."""

    trial: FrozenTrial
    ordinal: int
    finished: list[FrozenTrial]


def finished(study: Study) -> list[FrozenTrial]:
    """Trials with an outcome, by ordinal."""
    return finished_of(study.get_trials(deepcopy=False))


def finished_of(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Those of a study's trials that have an outcome, by ordinal."""
    return list(_by_ordinal(trials, FINISHED).values())


def count_waiting(trials: list[FrozenTrial]) -> int:
    """How many of a study's trials wait to be run."""
    return sum(trial.state == TrialState.WAITING for trial in trials)


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

    own: the sign of this process. lost: what is known of a trial that failed twice since this process leads the work.
    """

    study: Study
    total: int
    queued: Callable[[int], Queued] = lambda ordinal: Queued()
    own: Sign = field(default_factory=new_sign)
    lost: str = ""
    _again: Counter[int | None] = field(default_factory=Counter)
    _failed: set[int] | None = None
    _watch: Watch = field(default_factory=Watch)

    def look(self) -> list[FrozenTrial]:
        """The trials of the study as they are now."""
        return self.study.get_trials(deepcopy=False)

    def fill(self, most: int, trials: list[FrozenTrial]) -> None:
        """Queue trials that are neither finished nor under way, in their order, until so many wait.

        trials: those of the study, as they have just been read. Each look at it reads all those that wait, so that they
        had better be few.
        """
        known = {*_by_ordinal(trials, FINISHED), *_numbered(trials, UNDER_WAY)}
        waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
        # A process of an older version was killed between queueing it and asking for it.
        strays = [trial for trial in waiting if ordinal_of(trial) is None]
        missing = [ordinal for ordinal in range(self.total) if ordinal not in known]
        for ordinal in missing[: max(0, most - len(waiting) + len(strays))]:
            wanted = self.queued(ordinal)
            attrs = {ORDINAL: ordinal, **wanted.attrs}
            if strays:
                stray = strays.pop(0)
                for key, value in attrs.items():
                    self.study._storage.set_trial_user_attr(stray._trial_id, key, value)
            else:
                self.study.enqueue_trial(dict(wanted.params), attrs)

    def mend(self) -> None:
        """Fail the trials whose workers have gone, queue again what failed, once, and what is next."""
        trials = self.look()
        failed = {trial.number: trial for trial in trials if trial.state == TrialState.FAIL}
        if self._failed is None:  # before this process led the work
            self._failed = {*failed}
        for number in sorted({*failed} - self._failed):
            self._failed.add(number)
            ordinal, why = ordinal_of(failed[number]), failed[number].user_attrs.get(WHY)
            self._again[ordinal] += why != LEFT
            if self._again[ordinal] > 1:
                self.lost = f"trial {ordinal}, which failed twice, at last because {why!s:.400}"
                return
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        for trial in running:
            sign = sign_in(trial.user_attrs, WORKER)
            if (sign or {}).get("token") != self.own["token"] and self._watch.is_dead(trial.number, sign):
                log.warning("trial %s: %s has gone", ordinal_of(trial), named(sign))
                fail(self.study, trial, f"{named(sign)} has gone")
        self.fill(AHEAD * (1 + len(running)), trials)

    def claim(self, trials: list[FrozenTrial]) -> Claim | None:
        """A trial that this process alone runs from now on; None where none waits.

        trials: those of the study, as they have just been read.
        """
        done = _by_ordinal(trials, FINISHED)
        begun = {*done, *_numbered(trials, (TrialState.RUNNING,))}
        for ordinal, trial in sorted(_numbered(trials, (TrialState.WAITING,)).items()):
            if ordinal in begun or ordinal >= self.total:
                continue
            with suppress(UpdateFinishedTrialError):
                if self.study._storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                    return Claim(trial, ordinal, [*done.values()])
        return None

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
    storage, beats = impatient(study._storage), Counter({"beat": 0})

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
