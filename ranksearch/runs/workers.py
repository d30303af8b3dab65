"""Many processes on one search: those that a run starts on its machine, and those that join it by themselves."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from optuna.storages import BaseStorage

from ranksearch.errors import InputError, expected
from ranksearch.files import open_own
from ranksearch.networks import threads
from ranksearch.planning import Problem
from ranksearch.progress import Reporter
from ranksearch.runs.config import STORAGE_VARIABLE
from ranksearch.runs.options import RunOptions
from ranksearch.runs.run_folder import RunFolder
from ranksearch.runs.settings import recorded
from ranksearch.searching import SearchSettings, shared
from ranksearch.searching.studies import Artifacts, Board, check_unused, open_storage, quiet_optuna

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a worker has to find that the search has ended, and then to end when it is asked to."""


def opened_storage(options: RunOptions, settings: SearchSettings) -> BaseStorage | None:
    """The storage of a run where it is named, or shared; None where the search opens the run's own if it needs one.

    Raises InputError where it cannot be opened, or where another process is at work on studies of that name.
    """
    if options.storage is None and options.workers is None:
        return None
    if options.workers is not None and str(options.cache) == "none":
        way_out = "It is there that moments are kept, which workers get."
        raise InputError(expected("cache", "a folder, where there are `workers`", "none", way_out))
    with quiet_optuna():
        storage = open_storage(settings.storage, options.storage_timeout)
        if options.storage is not None:
            check_unused(storage, f"{settings.study_name}-")
    return storage


def opened_artifacts(options: RunOptions, folder: RunFolder) -> Artifacts | None:
    """Where a run shares files with others; None where it works alone. Raises InputError where it does not open."""
    return None if options.workers is None else Artifacts.at(options.artifacts or folder.artifacts)


@contextmanager
def workers(
    problem: Problem,
    settings: SearchSettings,
    storage: BaseStorage | None,
    artifacts: Artifacts | None,
    options: RunOptions,
    folder: RunFolder,
    reporter: Reporter,
) -> Iterator[Board | None]:
    """The board of a search that others may join, with the workers that the options ask for; None for a search that
    one process does alone."""
    if options.workers is None or storage is None or artifacts is None:
        yield None
        return
    with quiet_optuna(), ExitStack() as stack:
        count = options.threads or max(1, torch.get_num_threads() // options.workers)
        stack.enter_context(threads(count))
        for number in range(1, options.workers):
            stack.enter_context(_started(number, _command(options, folder, count), options, folder))
        # The last to be entered is the first to be left: workers see that the search has ended, and end too.
        board = stack.enter_context(shared(problem, settings, storage, artifacts, recorded(options)))
        reporter.line(f"workers: {options.workers} on this machine; others may join with ranksearch worker")
        yield board


def _command(options: RunOptions, folder: RunFolder, count: int) -> list[str]:
    """What starts a worker of a run. Its folder is trusted: this process has made it, or was told to trust it."""
    words = [sys.executable, "-m", "ranksearch", "worker", str(folder.path), "--trust", "--quiet"]
    own: dict[str, Any] = {
        "threads": count,
        "storage_timeout": options.storage_timeout,
        "device": options.device,
        "cache": options.cache,
        "artifacts": options.artifacts,
    }
    for name, value in own.items():
        if value is not None:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


@contextmanager
def _started(number: int, command: list[str], options: RunOptions, folder: RunFolder) -> Iterator[None]:
    """A worker of this machine meanwhile. One that ends early is told of; the search goes on without it."""
    path = folder.worker_log(number)
    descriptor = open_own(path, os.O_WRONLY | os.O_TRUNC)
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env=_environment(options),
            start_new_session=True,  # Ctrl-C is for the run, which then ends its workers
        )
    finally:
        os.close(descriptor)
    try:
        yield
        if process.poll():
            log.warning("worker %d ended early: %s", number, _last_line(path, process.returncode))
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
    finally:
        if process.poll() is None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
            process.kill()
            process.wait()


def _environment(options: RunOptions) -> Mapping[str, str]:
    """A URL may have a password, which others could read in the arguments of a process."""
    own = {} if options.storage is None else {STORAGE_VARIABLE: options.storage}
    return {**os.environ, **own}


def _last_line(path: Path, code: int) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
