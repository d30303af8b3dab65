"""A worker from its options to its last trial: which search, its task, and trials until the search has ended."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.progress import Reporter
from ranksearch.runs.config import absolute, flag, load_options, of_now, read_toml
from ranksearch.runs.options import RunOptions
from ranksearch.runs.run_folder import RunFolder
from ranksearch.runs.settings import candidate_config, recorded, search_settings, torch_threads
from ranksearch.runs.tasks import build_task
from ranksearch.searching import read_shared, work
from ranksearch.searching.studies import Artifacts, find_board, open_storage, quiet_optuna

OF_THIS_MACHINE = frozenset({"model", "weights", "data", "probe", "device", "threads", "loader_workers"})
"""Options in which processes of one search may differ: what they name is compared by its content."""


@dataclass(frozen=True)
class Joining:
    """A search to join: the options of this process, and its storage."""

    options: RunOptions
    storage: BaseStorage
    artifacts: str | Path | None


def find_search(given: Mapping[str, Any], run: Path | None) -> Joining:
    """The search that a worker is to join, with its options where none are given.

    run: a run's folder, whose options count too. Options that name code, or places to read, count from neither without
    `trust`. Raises InputError where there is no such search, and MismatchError where options differ from the search's.
    """
    folder = None if run is None else RunFolder(run.absolute())
    if folder is not None and not folder.config.is_file():
        way_out = "Name the folder of the run that leads the search."
        raise InputError(expected(str(run), "the folder of a run", "none", way_out))
    own = {} if folder is None else of_now(absolute(read_toml(folder.config), folder.path))
    own = {name: value for name, value in own.items() if name not in ("workers", "resume", "out", "quiet")}
    first = load_options(given, under=own, under_name=str(run))
    location = first.storage or (None if folder is None else str(folder.study))
    if location is None:
        way_out = "Name the database or the journal, or the folder of a run."
        raise InputError(expected("storage", "the storage of the search", "none", way_out))
    with quiet_optuna():
        storage = open_storage(location, first.storage_timeout)
        about = read_shared(find_board(storage, first.study_name, first.storage_timeout))
    options = load_options(given, under={**about.options, **own}, under_name="the search in the storage")
    _check_options(about.options, options)
    return Joining(options, storage, options.artifacts or (None if folder is None else folder.artifacts))


def _check_options(there: Mapping[str, Any], options: RunOptions) -> None:
    here = recorded(options)
    lines = [
        expected(
            flag(name), f"{there.get(name)}, as where the search is led", here.get(name), "Leave it out."
        )
        for name in sorted({*here, *there} - OF_THIS_MACHINE)
        if here.get(name) != there.get(name) and there
    ]
    if lines:
        raise MismatchError("\n".join(lines))


def worker_pipeline(joining: Joining, reporter: Reporter) -> int:
    """Run trials until the search has ended; their number."""
    options = joining.options
    with ExitStack() as stack:
        stack.enter_context(torch_threads(options))
        candidate_config(options)  # what is the user's own is registered by its name
        search_settings(options, RunFolder(Path.cwd()))
        task = build_task(options)
        if task.cache is None:
            kept = stack.enter_context(tempfile.TemporaryDirectory())
            task = replace(task, cache=Path(kept))
        artifacts = None if joining.artifacts is None else Artifacts.at(joining.artifacts)
        return work(
            task,
            joining.storage,
            options.study_name,
            artifacts=artifacts,
            timeout=options.storage_timeout,
            progress=reporter.progress,
        )
