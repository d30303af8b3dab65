"""One process at a time on a study.

Its holder leaves a sign of life in the study, which keeps changing. Whoever comes watches that sign by its own clock,
so that machines whose clocks disagree see the same.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from optuna import load_study
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import Study

from ranksearch.errors import InputError, expected
from ranksearch.redaction import redact

log = logging.getLogger(__name__)

KEY = "in use"
"""The attribute of a study that says who is at work on it; None where nobody is."""

BEAT = 4.0
"""Seconds from one sign of life to the next."""

EXPIRY = 20.0
"""Seconds without one after which the holder is taken for dead."""

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
    beating = Thread(target=lease.beat, name=f"lease of {study.study_name}", daemon=True)
    beating.start()
    try:
        yield
    finally:
        lease.ended.set()
        beating.join()
        lease.give_back()


def check_unused(storage: BaseStorage, prefix: str) -> None:
    """Raise InputError where another process is at work on a study whose name begins with the prefix."""
    for summary in storage.get_all_studies():
        if summary.study_name.startswith(prefix) and _said(summary.user_attrs) is not None:
            Lease(load_study(study_name=summary.study_name, storage=storage)).wait()


class Lease:
    """The right to work on a study."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.ended = Event()
        self._own = {
            "token": uuid4().hex,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "place": _place(),
        }

    def take(self) -> None:
        """Take it, once it is free. Raises InputError where its holder is alive."""
        self.wait()
        self._say({**self._own, "beat": 0})
        time.sleep(SETTLED)
        if (holder := self._holder()) is not None:
            raise self._in_use(holder)

    def wait(self) -> None:
        """Return once nobody holds it. Raises InputError where its holder is alive."""
        holder = self._holder()
        if holder is None or _has_ended(holder):
            return
        log.info("study %r: watching whether the process that used it is alive", self.study.study_name)
        end = time.monotonic() + EXPIRY
        while time.monotonic() < end:
            time.sleep(EXPIRY / 20)
            found = self._holder()
            if found is None:
                return
            if found != holder:
                raise self._in_use(found)

    def beat(self) -> None:
        """Leave signs of life until the lease has ended, or was taken by a process to which this one seemed dead."""
        beats = 0
        while not self.ended.wait(BEAT):
            try:
                if self._holder() is not None:
                    return
                beats += 1
                self._say({**self._own, "beat": beats})
            except Exception as error:  # a database that is busy or away; the next sign may get through
                log.debug("study %r: no sign of life (%s)", self.study.study_name, redact(str(error)))

    def give_back(self) -> None:
        """Leave the study to others, unless one has taken it."""
        with suppress(Exception):  # what ended the work may be that the database is away
            if self._holder() is None:
                self._say(None)

    def _holder(self) -> dict[str, Any] | None:
        """What another process says."""
        said = _said(self.study.user_attrs)
        return None if said is None or said.get("token") == self._own["token"] else said

    def _say(self, text: dict[str, Any] | None) -> None:
        self.study.set_user_attr(KEY, text)

    def _in_use(self, holder: dict[str, Any]) -> InputError:
        what = f"study {self.study.study_name!r}"
        got = f"process {holder.get('pid')} on {holder.get('host')!s:.80}"
        return InputError(expected(what, "one that no other process is at work on", got, _WAY_OUT))


def _said(attributes: dict[str, Any]) -> dict[str, Any] | None:
    said = attributes.get(KEY)
    return said if isinstance(said, dict) else None


def _has_ended(holder: dict[str, Any]) -> bool:
    """Whether a process of this machine is known to be gone."""
    place, pid = _place(), holder.get("pid")
    if place is None or holder.get("place") != place or type(pid) is not int or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return pid == os.getpid()


@cache
def _place() -> str | None:
    """Where numbers of processes mean the same; None where that cannot be known, as outside Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None
