"""Whether a storage keeps what it is given: a trial written through one connection and read back through another."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import BaseStorage

from ranksearch.errors import InputError, expected
from ranksearch.searching.studies.patient import close
from ranksearch.searching.studies.storage import open_storage


def check_storage(location: str | os.PathLike[str], timeout: float) -> float:
    """Write a trial and read it back; the seconds that it took.

    The study that it is in is removed, and so is the file of a journal that was not there before. location, timeout:
    see `open_storage`. Raises InputError where the storage does not open, or gives something else back, and what the
    storage raises.
    """
    journal = None if "://" in str(location) else Path(location)
    name = f"ranksearch-check-{uuid4().hex}"
    wanted = ({"x": 0.25}, [0.5], {"written": name})
    with ExitStack() as after:
        if journal is not None and not journal.exists():
            after.callback(journal.unlink, missing_ok=True)

        def opened() -> BaseStorage:
            storage = open_storage(location, timeout)
            after.callback(close, storage)
            return storage

        storage = opened()
        study = optuna.create_study(storage=storage, study_name=name)
        after.callback(optuna.delete_study, study_name=name, storage=storage)
        began = time.monotonic()
        study.enqueue_trial({"x": 0.25})
        trial = study.ask({"x": FloatDistribution(0.0, 1.0)})
        trial.set_user_attr("written", name)
        study.tell(trial, 0.5)
        taken = time.monotonic() - began
        trials = optuna.load_study(study_name=name, storage=opened()).trials
        found = [(trial.params, trial.values, trial.user_attrs) for trial in trials]
        if found != [wanted]:
            raise InputError(expected("storage", f"the trial that was written, {wanted}", found))
    return taken
