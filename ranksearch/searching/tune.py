"""Second stage: the best few distinct plans by a more expensive objective, with pruning of unpromising fine-tunes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.trial import FrozenTrial, Trial, TrialState

from ranksearch.objectives import Objective, geometric_steps, score_label
from ranksearch.searching.front import Evaluated, merged
from ranksearch.searching.job import (
    Job,
    choice_of,
    describe,
    ranking,
    records_of,
    storable_scores,
    trained_with,
    value_of,
)
from ranksearch.searching.notes import tune_note
from ranksearch.searching.studies import Queue, Queued, describe_study, finished, reporter, run_trials


def shortlist(job: Job, records: Sequence[Evaluated], count: int) -> list[Evaluated]:
    """The `count` best distinct plans of the first stage, best first, always including the analytic one; or none."""
    if not count:
        return []
    distinct = ranking(merged(records), job.settings.objective)
    analytic = job.problem.plan(job.baselines["analytic"]).key
    chosen = distinct[:count]
    if all(found.plan.key != analytic for found in chosen):
        chosen = distinct[: count - 1] + [found for found in distinct if found.plan.key == analytic]
    return chosen


def tune(job: Job, objective: Objective, plans: Sequence[Evaluated]) -> list[Evaluated]:
    """One trial per plan; a plan that an earlier run already scored is not scored again.

    Objectives that train report steps. The pruner compares held-out divergence at these with the median of the
    completed trials. It never looks at step 0, which only repeats the first stage, and lets two trials complete first.
    """
    stage = objective.name
    study = job.study(stage, pruner_of(objective), **trained_with(objective, job.settings))
    describe_study(study, score_label(stage), tune_note(objective, job.budget))
    before = len(finished(study))
    tuned = {job.problem.plan(choice_of(trial)).key for trial in finished(study)}
    todo = [place for place, found in enumerate(plans, 1) if found.plan.key not in tuned]
    total = before + len(todo)

    def queued(ordinal: int) -> Queued:
        place = todo[ordinal - before]
        found = plans[place - 1]
        choice = [
            table.candidates.index(found.plan.choices[table.layer.name]) for table in job.problem.tables
        ]
        return Queued({"place": place}, {"choice": choice, "origin": found.origin, "places": len(plans)})

    def news(done: list[FrozenTrial]) -> None:
        complete = [trial for trial in done if trial.state == TrialState.COMPLETE]
        job.news(stage, len(done), total, map(value_of, complete))

    news(finished(study))
    run_trials(
        Queue(study, total, queued),
        TuneTrials(job, objective).evaluate,
        sampler="random",
        seed=job.settings.seed,
        after=news,
        board=job.board_for("tune", objective),
    )
    return records_of(job, study, stage)


def pruner_of(objective: Objective) -> BasePruner:
    """What ends unpromising trials of an objective early."""
    if not objective.steps:
        return NopPruner()
    return MedianPruner(n_startup_trials=2, n_warmup_steps=geometric_steps(objective.steps)[0])


@dataclass(frozen=True)
class TuneTrials:
    """How a trial of the stage is evaluated, in the process that leads the search and in others."""

    job: Job
    objective: Objective

    def evaluate(self, trial: Trial, before: list[FrozenTrial]) -> float:
        """Score the plan that the trial was queued with."""
        attrs, steps = trial.user_attrs, self.objective.steps
        trial.suggest_int("place", 1, attrs["places"])
        choice = tuple(attrs["choice"])
        plan = self.job.problem.plan(choice)
        describe(trial, plan, choice, attrs["origin"])
        report, last = reporter(trial), 0

        def noting(step: int, value: float) -> None:
            nonlocal last
            last = step
            report(step, value)

        try:
            score = self.objective.score(plan, noting)
        except optuna.TrialPruned:
            trial.set_user_attr("scores", {"steps": last, "steps_saved": steps - last})
            raise
        saved = {"steps": steps, "steps_saved": 0} if steps else {}
        trial.set_user_attr("scores", storable_scores(self.objective.name, score) | saved)
        return score.value
