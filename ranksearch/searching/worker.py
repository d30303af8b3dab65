"""A process that joins a search: it runs trials that the leader has queued, until the search has ended."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.storages import BaseStorage

from ranksearch.costs import Kept
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.objectives import Scoring, make_objective
from ranksearch.planning import Problem
from ranksearch.progress import Progress, no_progress
from ranksearch.searching.job import Job, budget_of, offered_to
from ranksearch.searching.scan import ScanTrials
from ranksearch.searching.settings import SearchSettings
from ranksearch.searching.sharing import Shared, check_same_task, joined, read_shared
from ranksearch.searching.studies import (
    SAMPLERS,
    TIMEOUT,
    Artifacts,
    Claim,
    Evaluate,
    Found,
    Queue,
    find_board,
    quiet_optuna,
    run_next,
)
from ranksearch.searching.tune import TuneTrials, pruner_of
from ranksearch.tasks import Task

log = logging.getLogger(__name__)

POLL = 0.5
"""Seconds between looks at a board that has nothing to do."""

_OF_TUNING = ("finetune", "refitted")


def work(
    task: Task,
    storage: BaseStorage,
    study_name: str = "ranksearch",
    *,
    artifacts: Artifacts | None = None,
    timeout: float = TIMEOUT,
    progress: Progress = no_progress,
) -> int:
    """Run trials of the search of that name until it has ended; the number of trials that were run.

    artifacts: where its leader shares files. timeout: for how many seconds to wait for a leader.

    Raises MismatchError, which names the differences, where the task, or the versions of packages, are not those of the
    leader, and InputError where nobody leads such a search.
    """
    with quiet_optuna():
        found = find_board(storage, study_name, timeout)
        about = read_shared(found)
        check_same_task(about, task)
        worker = Worker(storage, found, about, joined(about, task, artifacts, progress), progress)
        return worker.run(timeout)


@dataclass
class Worker:
    """A process that has joined a search."""

    storage: BaseStorage
    found: Found
    about: Shared
    problem: Problem
    progress: Progress = no_progress
    count: int = 0

    def run(self, timeout: float) -> int:
        """Run trials until the search has ended, or nobody has led it for `timeout` seconds."""
        alone = 0.0
        stage: _Stage | None = None
        while True:
            led, told = self.found.look()
            if not led and self.found.ended:
                return self.count
            if led and read_shared(self.found).id != self.about.id:
                got = "another one, which was started in its place"
                raise MismatchError(expected("study_name", "the search that this process joined", got))
            alone = 0.0 if led else alone + POLL
            if alone >= timeout:
                way_out = "Continue the run with `resume`; workers may join it again."
                got = f"none for {timeout:g} s"
                raise InputError(expected("search", "a process that leads it", got, way_out))
            if told is not None and (stage is None or stage.told != told):
                stage = self.opened(told)
            claim = None if told is None or stage is None else stage.run_next()
            if stage is None or claim is None:
                time.sleep(POLL)
                continue
            self.count += 1
            self.progress(stage.name, len(claim.finished) + 1, stage.queue.total)

    def opened(self, told: dict[str, Any]) -> _Stage:
        """A stage, from what its leader says of it. Raises MismatchError where that makes no sense."""
        try:
            kind, total, name = str(told["kind"]), int(told["total"]), str(told["study"])
            budget, scored_by = budget_of(told["budget"]), str(told["objective"])
            sampler = SAMPLERS.get(str(told["sampler"])).name
            wanted = {"scan": (self.about.settings["objective"],), "tune": _OF_TUNING}[kind]
            if scored_by not in wanted:
                raise ValueError(f"the objective {scored_by}")
            settings = SearchSettings(budgets=(Kept(fraction=1.0),), **self.about.settings)  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError) as error:
            what = f"study {self.found.study.study_name!r}"
            got = f"{told!r:.200} ({error})"
            raise MismatchError(expected(what, "what ranksearch says of a stage", got)) from error
        scoring = Scoring(self.problem, settings.finetune_steps, settings.finetune_lr, settings.seed)
        objective = make_objective(scored_by, scoring)
        problem = offered_to(self.problem, settings, budget)
        job = Job(problem, settings, budget, self.storage, self.progress)
        pruner: BasePruner = pruner_of(objective) if kind == "tune" else NopPruner()
        study = optuna.load_study(study_name=name, storage=self.storage, pruner=pruner)
        trials = ScanTrials.of(job, study, objective) if kind == "scan" else TuneTrials(job, objective)
        shown = f"{scored_by} {budget.name}"
        return _Stage(told, shown, Queue(study, total), sampler, settings.seed, trials.evaluate)


@dataclass(frozen=True)
class _Stage:
    told: dict[str, Any]
    name: str
    queue: Queue
    sampler: str
    seed: int
    evaluate: Evaluate

    def run_next(self) -> Claim | None:
        trials = self.queue.look()
        return run_next(
            self.queue, self.evaluate, trials, sampler=self.sampler, seed=self.seed, signs=True, joined=True
        )
