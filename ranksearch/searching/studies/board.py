"""Where the process that leads a search says what there is to do, and others look for it: the attributes of a study of
its own in the search's storage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import Study

from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.searching.studies.lease import KEY, leased
from ranksearch.searching.studies.life import Watch, sign_in

SEARCH, STAGE = "search", "stage"
"""Attributes: what the search is about, and the study whose trials are to be run; None where none is."""

POLL = 0.5
"""Seconds between looks for a search."""


def board_name(study_name: str) -> str:
    """The name of the board's study."""
    return f"{study_name}-workers"


@dataclass
class Board:
    """The board of a search, for the process that leads it. stage: what is said of the study that comes next."""

    study: Study
    stage: Mapping[str, Any] = field(default_factory=dict)

    def close(self) -> None:
        """Have no trial started any more."""
        self.study.set_user_attr(STAGE, None)

    @contextmanager
    def opened(self, study: Study, total: int) -> Iterator[None]:
        """Have others work on the trials of a study meanwhile."""
        self.study.set_user_attr(STAGE, {**self.stage, "study": study.study_name, "total": total})
        try:
            yield
        finally:
            self.close()


@contextmanager
def leading(storage: BaseStorage, study_name: str) -> Iterator[Board]:
    """The board of a search that this process leads. Raises InputError where another one does."""
    name = board_name(study_name)
    study = optuna.create_study(storage=storage, study_name=name, load_if_exists=True)
    with leased(study):
        study.set_user_attr(STAGE, None)
        yield Board(study)


@dataclass
class Found:
    """The board of a search that another process leads."""

    study: Study
    _watch: Watch = field(default_factory=Watch)
    _seen: dict[str, Any] = field(default_factory=dict)

    @property
    def about(self) -> dict[str, Any]:
        """What the search was about at the last look. Raises MismatchError where that is not said."""
        found = self._seen.get(SEARCH)
        if not isinstance(found, dict):
            what = f"study {self.study.study_name!r}"
            raise MismatchError(expected(what, "what a search is about", f"{found!r:.60}"))
        return found

    def look(self) -> tuple[bool, dict[str, Any] | None]:
        """Whether a process leads the search, and what is said of the study that is open."""
        attrs = self._seen = self.study.user_attrs
        sign, stage = sign_in(attrs, KEY), attrs.get(STAGE)
        led = sign is not None and not self._watch.is_dead("leader", sign)
        return led, stage if led and isinstance(stage, dict) else None

    @property
    def is_told(self) -> bool:
        """Whether the last look found what the search is about."""
        return SEARCH in self._seen

    @property
    def ended(self) -> bool:
        """Whether, at the last look, the process that led the search had ended as it should."""
        return sign_in(self._seen, KEY) is None


def find_board(storage: BaseStorage, study_name: str, timeout: float) -> Found:
    """The board of a search that is under way. Raises InputError where there is none after `timeout` seconds."""
    end = time.monotonic() + timeout
    found: Found | None = None
    while True:
        with suppress(KeyError):
            found = found or Found(optuna.load_study(study_name=board_name(study_name), storage=storage))
        if found is not None and found.look()[0] and found.is_told:
            return found
        if time.monotonic() >= end:
            way_out = "Start a run with `workers` on the same `storage`."
            wanted = f"a search that is under way, named {study_name!r}"
            raise InputError(expected("study_name", wanted, f"none within {timeout:g} s", way_out))
        time.sleep(POLL)
