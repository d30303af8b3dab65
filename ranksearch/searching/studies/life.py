"""Signs of life: who is at work, and whether they still are.

Whoever is at work leaves a sign in the storage that keeps changing. Others watch it by their own clock, so that
machines whose clocks disagree see the same.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

from ranksearch.redaction import redact

log = logging.getLogger(__name__)

BEAT = 4.0
"""Seconds from one sign of life to the next."""

EXPIRY = 20.0
"""Seconds without one after which a process is taken for dead."""

Sign = dict[str, Any]
"""Who says it: a token, the host and the number of the process; and `beat`, which changes."""


def new_sign() -> Sign:
    """The sign of this process, under a token of its own."""
    return {"token": uuid4().hex, "host": socket.gethostname(), "pid": os.getpid(), "place": _place()}


def sign_in(attributes: dict[str, Any], key: str) -> Sign | None:
    """The sign among the attributes of a study or a trial."""
    said = attributes.get(key)
    return said if isinstance(said, dict) else None


def named(sign: Sign | None) -> str:
    """What to call the process of a sign."""
    return "an unknown process" if sign is None else f"process {sign.get('pid')} on {sign.get('host')!s:.80}"


def has_ended(sign: Sign) -> bool:
    """Whether a process of this machine is known to be gone."""
    place, pid = _place(), sign.get("pid")
    if place is None or sign.get("place") != place or type(pid) is not int or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return _is_zombie(pid)


def is_own(sign: Sign) -> bool:
    """Whether this process, or one that had its number before, has left a sign."""
    return _place() is not None and sign.get("place") == _place() and sign.get("pid") == os.getpid()


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended, and its parent has not asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


@cache
def _place() -> str | None:
    """Where numbers of processes mean the same; None where that cannot be known, as outside Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}-{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


@dataclass
class Watch:
    """For how long signs have not changed, by this process's own clock.

    Time during which nobody looked, because the storage was away or this machine asleep, does not count: the others
    could leave no signs then either.
    """

    _seen: dict[object, tuple[Sign | None, float]] = field(default_factory=dict)
    _silent: dict[object, float] = field(default_factory=dict)

    def silent(self, who: object, sign: Sign | None) -> float:
        """Seconds without a change of somebody's sign."""
        now = time.monotonic()
        before, looked = self._seen.get(who, (None, now))
        self._seen[who] = (sign, now)
        known = who in self._silent and before == sign
        self._silent[who] = self._silent[who] + min(now - looked, BEAT) if known else 0.0
        return self._silent[who]

    def is_dead(self, who: object, sign: Sign | None) -> bool:
        """Whether a process has to be taken for dead."""
        return (sign is not None and has_ended(sign)) or self.silent(who, sign) >= EXPIRY


@contextmanager
def repeating(
    act: Callable[[], object], what: str, every: float | None = None
) -> Iterator[Callable[[], None]]:
    """Do something every `BEAT` seconds meanwhile, and when what is yielded is called. A storage that is busy or away
    is tried again the next time."""
    ended, soon = Event(), Event()

    def repeat() -> None:
        while True:
            soon.wait(every or BEAT)
            soon.clear()
            if ended.is_set():
                return
            try:
                act()
            except Exception as error:  # databases raise kinds of their own
                log.debug("%s: %s", what, redact(str(error)))

    thread = Thread(target=repeat, name=what, daemon=True)
    thread.start()
    try:
        yield soon.set
    finally:
        ended.set()
        soon.set()
        thread.join(10.0)  # it is waiting for a database at most
