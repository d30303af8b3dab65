"""First stage: many plans, proposed by a search space, scored by one objective."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from optuna.pruners import NopPruner
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial

from ranksearch.objectives import Objective
from ranksearch.planning import Choice, Plan
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.searching.front import Evaluated
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
)
from ranksearch.searching.studies import finished, reporter, restored, run_trials, same_parameters, storable


def scan(job: Job, objective: Objective) -> list[Evaluated]:
    """Every evaluation of the stage: the baselines, the analytic plan first, then the other trials.

    Baselines that the space can express are the study's first trials; the others are scored outside the study.
    """
    settings, stage = job.settings, objective.name
    make = SEARCH_SPACES.get(settings.space)
    space = make(job.problem.tables, job.budget)
    kinds = {"space": settings.space, "sampler": settings.sampler}
    study = job.study(stage, NopPruner(), **kinds, **trained_with(objective, settings))
    params = {name: space.express(choice) for name, choice in job.baselines.items()}
    first = {choice: name for name, choice in reversed(job.baselines.items())}
    queue = [name for name in first.values() if params[name] is not None][::-1][: settings.trials]
    scores = _Known(job, study)
    worst = sum(float(table.errors().max()) for table in job.problem.tables)

    def evaluate(trial: Trial, ordinal: int) -> float:
        with same_parameters(study, f"space {settings.space}"):
            choice = space.suggest(trial)
        plan = job.problem.plan(choice)
        describe(trial, plan, choice, queue[ordinal] if ordinal < len(queue) else settings.space)
        overshoot = max(plan.cost.of(each.metric) / each.limit for each in job.budget.every) - 1
        if overshoot > 0:
            # Not run on the model. Samplers that support constraints learn from the overshoot itself; for the
            # others the value, ε plus a penalty, rises with it.
            if not trial.constraints:
                trial.set_constraint("budget", overshoot)
            trial.set_user_attr("state", "infeasible")
            return plan.error + worst * overshoot
        found = scores.of(plan)
        if found is None:
            score = objective.score(plan, reporter(trial))
            found = {"value": storable(score.value), "scores": storable_scores(stage, score)}
        else:
            trial.set_user_attr("duplicate_of", found["source"])
        trial.set_user_attr("scores", found["scores"])
        return float(found["value"])

    def after(count: int) -> None:
        scores.add(finished(study)[-1], count - 1)
        job.news(stage, count, settings.trials, scores.values())

    job.news(stage, len(finished(study)), settings.trials, scores.values())
    for name, choice in job.baselines.items():
        if name not in queue:
            scores.add_beside(name, choice, objective)
            job.news(stage, len(finished(study)), settings.trials, scores.values())
    run_trials(
        study,
        evaluate,
        total=settings.trials,
        sampler=settings.sampler,
        seed=settings.seed,
        fixed=lambda ordinal: params[queue[ordinal]] if ordinal < len(queue) else None,
        deadline=None if settings.timeout is None else time.monotonic() + settings.timeout,
        after=after,
    )
    records = scores.beside_records(stage) + records_of(job, study, stage)
    order = {name: k for k, name in enumerate(job.baselines)}
    return sorted(records, key=lambda found: order.get(found.origin, len(order)))


@dataclass
class _Known:
    """Scores by plan, so that none is measured twice: of the study's trials, and of plans outside it."""

    job: Job
    study: Study
    _trials: dict[object, tuple[int, FrozenTrial]] = field(default_factory=dict)
    _beside: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for ordinal, trial in enumerate(finished(self.study)):
            self.add(trial, ordinal)

    def add(self, trial: FrozenTrial, ordinal: int) -> None:
        """Know a trial, which so many finished ones came before."""
        if state_of(trial) == "complete":
            self._trials.setdefault(self.job.problem.plan(choice_of(trial)).key, (ordinal, trial))

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
