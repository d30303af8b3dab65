"""First stage: many plans, proposed by a search space, scored by one objective."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.pruners import NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from ranksearch.objectives import Objective, score_label
from ranksearch.planning import Choice, Plan
from ranksearch.search_spaces import SEARCH_SPACES, SearchSpace
from ranksearch.searching.front import Evaluated
from ranksearch.searching.importance import parameter_importances
from ranksearch.searching.job import (
    Job,
    check_found,
    choice_of,
    describe,
    records_of,
    state_of,
    storable_scores,
    trained_with,
    value_of,
    with_sources,
)
from ranksearch.searching.notes import scan_note
from ranksearch.searching.studies import (
    Queue,
    Queued,
    describe_study,
    finished,
    reporter,
    restored,
    run_trials,
    same_parameters,
    storable,
)


@dataclass(frozen=True)
class Scanned:
    """Every evaluation of the stage, the baselines first and of them the analytic plan; and the share of each parameter
    of the search space in what made trials good."""

    records: list[Evaluated]
    importances: Mapping[str, float]


def scan(job: Job, objective: Objective) -> Scanned:
    """Carry out the stage, or what is left of it.

    Baselines that the space can express are the study's first trials; the others are scored outside the study.
    """
    settings, stage = job.settings, objective.name
    kinds = {"space": settings.space, "sampler": settings.sampler}
    study = job.study(stage, NopPruner(), **kinds, **trained_with(objective, settings))
    trials = ScanTrials.of(job, study, objective)
    describe_study(study, score_label(stage), scan_note(objective, job.budget, trials.space))
    params = {name: trials.space.express(choice) for name, choice in job.baselines.items()}
    first = {choice: name for name, choice in reversed(job.baselines.items())}
    begin = [name for name in first.values() if params[name] is not None][::-1][: settings.trials]

    def queued(ordinal: int) -> Queued:
        if ordinal >= len(begin):
            return Queued()
        return Queued(params[begin[ordinal]] or {}, {"origin": begin[ordinal]})

    def news(done: list[FrozenTrial]) -> None:
        trials.known.refresh(done)
        job.news(stage, len(done), settings.trials, trials.known.values())

    done = finished(study)
    news(done)
    for name, choice in job.baselines.items():
        if name not in begin:
            trials.known.add_beside(name, choice, objective)
            news(done)
    run_trials(
        Queue(study, settings.trials, queued),
        trials.evaluate,
        sampler=settings.sampler,
        seed=settings.seed,
        deadline=None if settings.timeout is None else time.monotonic() + settings.timeout,
        after=news,
        board=job.board_for("scan", objective),
    )
    beside = trials.known.beside_records(stage)
    records = beside + with_sources(beside, records_of(job, study, stage))
    order = {name: k for k, name in enumerate(job.baselines)}
    records.sort(key=lambda found: order.get(found.origin, len(order)))
    return Scanned(records, parameter_importances(study))


@dataclass(frozen=True)
class ScanTrials:
    """How a trial of the stage is evaluated, in the process that leads the search and in others."""

    job: Job
    study: Study
    objective: Objective
    space: SearchSpace
    known: _Known

    @classmethod
    def of(cls, job: Job, study: Study, objective: Objective) -> ScanTrials:
        space = SEARCH_SPACES.get(job.settings.space)(job.problem.tables, job.budget)
        return cls(job, study, objective, space, _Known(job, study))

    def evaluate(self, trial: Trial, before: list[FrozenTrial]) -> float:
        """Propose a plan, describe it in the trial, and score it, unless it is above the budget or known."""
        job, settings = self.job, self.job.settings
        with same_parameters(self.study, f"space {settings.space}"):
            choice = self.space.suggest(trial)
        plan = job.problem.plan(choice)
        describe(trial, plan, choice, trial.user_attrs.get("origin", settings.space))
        overshoot = max(plan.cost.of(each.metric) / each.limit for each in job.budget.every) - 1
        if overshoot > 0:
            # Not run on the model. Samplers that support constraints learn from the overshoot itself; for the
            # others the value, ε plus a penalty, rises with it.
            if not trial.constraints:
                trial.set_constraint("budget", overshoot)
            trial.set_user_attr("state", "infeasible")
            worst = sum(float(table.errors().max()) for table in job.problem.tables)
            return plan.error + worst * overshoot
        self.known.refresh(before)
        found = self.known.of(plan)
        if found is None:
            score = self.objective.score(plan, reporter(trial))
            scores = storable_scores(self.objective.name, score)
            found = {"value": storable(score.value), "scores": scores}
        trial.set_user_attr("scores", found["scores"])
        return float(found["value"])


@dataclass
class _Known:
    """Scores by plan, so that none is measured twice: of the study's trials, and of plans outside it."""

    job: Job
    study: Study
    _trials: dict[object, tuple[int, FrozenTrial]] = field(default_factory=dict)
    _beside: dict[str, dict[str, Any]] = field(default_factory=dict)
    _read: set[int] = field(default_factory=set)

    def refresh(self, done: list[FrozenTrial]) -> None:
        """Know the trials that are finished by now."""
        for ordinal, trial in enumerate(done):
            if trial.number not in self._read and state_of(trial) == "complete":
                self._trials.setdefault(self.job.problem.plan(choice_of(trial)).key, (ordinal, trial))
            self._read.add(trial.number)

    def add_beside(self, name: str, choice: Choice, objective: Objective) -> None:
        """Score a plan outside the study; the result is stored in the study's own attributes."""
        attr, plan = f"plan {name}", self.job.problem.plan(choice)
        stored = self.study.user_attrs.get(attr)
        if stored is not None:
            found = {**stored, "origin": name} if isinstance(stored, dict) else None
            check_found(self.study, attr, self.job.problem, found)
        if stored is None or stored["choice"] != list(choice):
            found = self.of(plan)
            if found is None:
                score = objective.score(plan)
                found = {"value": storable(score.value), "scores": storable_scores(objective.name, score)}
            stored = {**found, "choice": list(choice), "ranks": plan.ranks}
            self.study.set_user_attr(attr, stored)
        self._beside[name] = stored

    def of(self, plan: Plan) -> dict[str, Any] | None:
        """`value` and `scores` of a plan, and their `source`; None if it was not scored yet."""
        if plan.key in self._trials:
            ordinal, trial = self._trials[plan.key]
            source = f"trial {ordinal}"
            return {"value": trial.value, "scores": trial.user_attrs["scores"], "source": source}
        for name, found in self._beside.items():
            if self.job.problem.plan(found["choice"]).key == plan.key:
                return {"value": found["value"], "scores": found["scores"], "source": name}
        return None

    def values(self) -> list[float]:
        beside = [restored(found["value"]) for found in self._beside.values()]
        return [value_of(trial) for _, trial in self._trials.values()] + beside

    def beside_records(self, stage: str) -> list[Evaluated]:
        records = []
        for name, found in self._beside.items():
            plan = self.job.problem.plan(found["choice"])
            stored = {"error": plan.error, stage: found["value"], **found["scores"]}
            scores = {key: restored(value) for key, value in stored.items()}
            earlier = found.get("source")
            records.append(Evaluated(plan, self.job.budget, name, stage, scores, duplicate_of=earlier))
        return records
