"""One process at a time leads the work on a study.

Its holder leaves a sign of life in the study (see `life`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from optuna import load_study
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import Study

from ranksearch.errors import InputError, expected
from ranksearch.searching.studies import life
from ranksearch.searching.studies.life import Sign, has_ended, is_own, named, new_sign, repeating, sign_in
from ranksearch.searching.studies.patient import impatient

log = logging.getLogger(__name__)

KEY = "in use"
"""The attribute of a study that says who is at work on it; None where nobody is."""

SETTLED = 0.1
"""Seconds after which, of two processes that came at once, one has overwritten the other."""

_WAY_OUT = "Wait until it has ended, or choose another `study_name` or `storage`."


@contextmanager
def leased(study: Study) -> Iterator[None]:
    """Hold a study for this process. Raises InputError where another one is at work on it."""
    if isinstance(study._storage, InMemoryStorage):
        yield
        return
    lease = Lease(study)
    lease.take()
    beating = Lease(_impatient(study), lease.sign)
    try:
        with repeating(beating.beat, f"lease of {study.study_name}"):
            yield
    finally:
        lease.give_back()


def _impatient(study: Study) -> Study:
    storage = impatient(study._storage)
    return study if storage is study._storage else load_study(study_name=study.study_name, storage=storage)


def check_unused(storage: BaseStorage, prefix: str) -> None:
    """Raise InputError where another process is at work on a study whose name begins with the prefix."""
    for summary in storage.get_all_studies():
        if summary.study_name.startswith(prefix) and sign_in(summary.user_attrs, KEY) is not None:
            Lease(load_study(study_name=summary.study_name, storage=storage)).wait()


class Lease:
    """The right to work on a study."""

    def __init__(self, study: Study, sign: Sign | None = None) -> None:
        self.study = study
        self.sign = sign or new_sign()
        self._beats = 0

    def take(self) -> None:
        """Take it, once it is free. Raises InputError where its holder is alive."""
        self.wait()
        self._say({**self.sign, "beat": 0})
        time.sleep(SETTLED)
        if (holder := self._holder()) is not None:
            raise self._in_use(holder)

    def wait(self) -> None:
        """Return once nobody holds it. Raises InputError where its holder is alive."""
        holder = self._holder()
        if holder is None or has_ended(holder) or is_own(holder):
            return
        log.info("study %r: watching whether the process that used it is alive", self.study.study_name)
        end = time.monotonic() + life.EXPIRY
        while time.monotonic() < end:
            time.sleep(life.EXPIRY / 20)
            found = self._holder()
            if found is None:
                return
            if found != holder:
                raise self._in_use(found)

    def beat(self) -> None:
        """Leave a sign of life, unless a process to which this one seemed dead has taken the study."""
        if self._holder() is None:
            self._beats += 1
            self._say({**self.sign, "beat": self._beats})

    def give_back(self) -> None:
        """Leave the study to others, unless one has taken it."""
        with suppress(Exception):  # what ended the work may be that the database is away
            if self._holder() is None:
                self._say(None)

    def _holder(self) -> Sign | None:
        """What another process says."""
        said = sign_in(self.study.user_attrs, KEY)
        return None if said is None or said.get("token") == self.sign["token"] else said

    def _say(self, text: Sign | None) -> None:
        self.study.set_user_attr(KEY, text)

    def _in_use(self, holder: Sign) -> InputError:
        what = f"study {self.study.study_name!r}"
        wanted = "one that no other process is at work on"
        return InputError(expected(what, wanted, named(holder), _WAY_OUT))
