"""One budget's search: the data shared by its stages, and how a plan is stored in a trial and read back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import isfinite
from typing import Any

from optuna.pruners import BasePruner
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from ranksearch.costs import Budget, Kept, Part
from ranksearch.errors import MismatchError, expected
from ranksearch.objectives import Objective, Score
from ranksearch.planning import Choice, Plan, Problem, aligned, analytic, energy, uniform
from ranksearch.progress import Progress
from ranksearch.searching.front import Evaluated, State
from ranksearch.searching.settings import SearchSettings
from ranksearch.searching.studies import CHOOSE_ANOTHER, Board, finished, open_study, restored, storable
from ranksearch.searching.timings import Timings

UNSEARCHED: Mapping[str, Callable[..., Choice]] = {"analytic": analytic, "uniform": uniform, "energy": energy}
"""Plans that need no search, the analytic one first."""

PLAIN = "plain"
"""The analytic plan without the prior: if the prior is wrong, the search falls back on it."""


@dataclass(frozen=True)
class Job:
    """A problem, a budget, and where its studies are stored and its progress is reported.

    leases: Of the studies that were opened; closing it leaves them to other processes. board: where other processes
    find trials to run; None where this one runs them all. timings: what the search knows about times, for all its
    budgets. found: the analytic plan, where it is known already.
    """

    problem: Problem
    settings: SearchSettings
    budget: Budget
    storage: BaseStorage
    progress: Progress
    task_digest: str = ""
    leases: ExitStack = field(default_factory=ExitStack)
    board: Board | None = None
    timings: Timings = field(default_factory=Timings)
    found: Choice | None = None

    @cached_property
    def baselines(self) -> dict[str, Choice]:
        problem = self.problem
        known = {} if self.found is None else {"analytic": self.found}
        found = {
            name: known.get(name) or allocate(problem.tables, self.budget)
            for name, allocate in UNSEARCHED.items()
        }
        if problem.layer_weights.prior:
            plain = problem.layer_weights.without_prior.weighed(problem.tables)
            found[PLAIN] = analytic(plain, self.budget)
        return found

    def study(self, stage: str, pruner: BasePruner, **made_for: Any) -> Study:
        """The study of a stage; a stored one must agree in everything that its trials depend on."""
        tables = self.problem.tables
        # Weights are only included if there are any, so that older studies without them stay valid.
        weights = [(t.layer.name, t.weight) for t in tables if t.weight != 1]
        common: dict[str, Any] = {
            "task": self.task_digest,
            "layers": _digest([(t.layer.name, t.dense) for t in tables]),
            "candidates": _digest([*((str(c), c.cost) for t in tables for c in t.candidates), *weights]),
            "budget": self.budget.fraction,
            "metric": self.budget.metric,
            "seed": self.settings.seed,
        }
        if self.budget.also:
            common["limits"] = {other.metric: other.limit for other in self.budget.also}
        if self.budget.part is not None:
            common["part"] = self.budget.part.as_json()
        name = f"{self.settings.study_name}-{self.budget.name}-{stage}"
        shared = self.board is not None
        study = open_study(self.storage, name, common | made_for, pruner, self.leases, shared=shared)
        check_stored(study, self.problem)
        return study

    def board_for(self, kind: str, objective: Objective) -> Board | None:
        """The board, where there is one, for a stage of a kind (`scan`, `tune`) that scores by an objective."""
        if self.board is None:
            return None
        sampler = self.settings.sampler if kind == "scan" else "random"
        budget = plain_budget(self.budget)
        stage = {"kind": kind, "objective": objective.name, "sampler": sampler, "budget": budget}
        return replace(self.board, stage=stage)

    def news(self, stage: str, done: int, total: int, values: Iterable[float]) -> None:
        self.progress(f"{stage} {self.budget.name}", done, total, min(values, default=None))


def plain_budget(budget: Budget) -> dict[str, Any]:
    """A budget as JSON knows it."""
    part = None if budget.part is None else budget.part.as_json()
    also = [plain_budget(other) for other in budget.also]
    return asdict(replace(budget, part=None, also=())) | {"part": part, "also": also}


def budget_of(plain: Mapping[str, Any]) -> Budget:
    """The budget that `plain_budget` wrote. Raises KeyError, TypeError or ValueError for something else."""
    kept, also = Kept(**plain["kept"]), tuple(map(budget_of, plain["also"]))
    dense, limit = int(plain["dense"]), int(plain["limit"])
    part = None if plain["part"] is None else Part.of_json(plain["part"])
    return Budget(str(plain["metric"]), kept, dense, limit, also, part)


def offered_to(problem: Problem, settings: SearchSettings, budget: Budget) -> Problem:
    """The problem with the candidates that a budget's plans are made of. Methods of the literature choose among all."""
    return aligned(problem, budget, settings.multiples) if settings.allocator == "knapsack" else problem


def describe(trial: Trial, plan: Plan, choice: Choice, origin: str) -> None:
    """Store the plan in the trial, both readable and by index."""
    if trial.user_attrs.get("origin") != origin:
        trial.set_user_attr("origin", origin)
    trial.set_user_attr("choice", list(choice))
    trial.set_user_attr("ranks", plan.ranks)
    trial.set_user_attr("cost", plan.cost.amounts)


def check_stored(study: Study, problem: Problem) -> None:
    """Raise MismatchError that names the first finished trial of which something is missing or strange."""
    for trial in finished(study):
        value = trial.values[0] if trial.values is not None and len(trial.values) == 1 else None
        found: dict[str, Any] = {"scores": {}} | trial.user_attrs | {"value": value}
        if state_of(trial) == "complete":
            found["scores"] = trial.user_attrs.get("scores")
        elif state_of(trial) == "pruned":
            found["value"] = 0.0
        check_found(study, f"trial {trial.number}", problem, found)


def check_found(study: Study, what: str, problem: Problem, found: object) -> None:
    """That what a study keeps of a plan is all there; raises MismatchError."""
    kept = found if isinstance(found, dict) else {}
    choice, tables = kept.get("choice"), problem.tables
    right = {
        "value": _is_number(kept.get("value")),
        "scores": are_numbers(kept.get("scores")),
        "choice": isinstance(choice, list)
        and len(choice) == len(tables)
        and all(type(k) is int and 0 <= k < len(t.candidates) for k, t in zip(choice, tables, strict=True)),
        "origin": isinstance(kept.get("origin"), str),
    }
    for name, is_right in right.items():
        if not is_right:
            raise strange(study, what, f"{name} {kept.get(name)!r:.60}")


def are_numbers(scores: object) -> bool:
    """Whether these are scores as a study keeps them."""
    return isinstance(scores, dict) and all(map(_is_number, scores.values()))


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and isfinite(value)  # type: ignore[arg-type]


def strange(study: Study, what: str, got: object) -> MismatchError:
    """The error for something in a study that ranksearch has not put there."""
    where = f"{what} of study {study.study_name!r}"
    return MismatchError(expected(where, "what ranksearch keeps of a plan", got, CHOOSE_ANOTHER))


def records_of(job: Job, study: Study, stage: str) -> list[Evaluated]:
    """The finished trials of a study read back, numbered as they would be had no process been killed."""
    return [_record(job, trial, stage, ordinal) for ordinal, trial in enumerate(finished(study))]


def with_sources(beside: Sequence[Evaluated], trials: Sequence[Evaluated]) -> list[Evaluated]:
    """The trials, by ordinal, each with the first evaluation of the same plan, whichever was measured first."""
    known: dict[object, str] = {}
    for found in beside:
        known.setdefault(found.plan.key, found.origin)
    first: dict[object, str] = {}
    told = []
    for found in trials:
        if found.state != "complete":
            told.append(found)
            continue
        told.append(replace(found, duplicate_of=first.get(found.plan.key, known.get(found.plan.key))))
        first.setdefault(found.plan.key, f"trial {found.trial}")
    return told


def _record(job: Job, trial: FrozenTrial, stage: str, ordinal: int) -> Evaluated:
    plan = job.problem.plan(choice_of(trial))
    attrs, state = trial.user_attrs, state_of(trial)
    scores = {"error": plan.error}
    if state == "complete":
        scores[stage] = value_of(trial)
    scores |= {name: restored(value) for name, value in attrs.get("scores", {}).items()}
    return Evaluated(plan, job.budget, attrs["origin"], stage, scores, ordinal, state)


def state_of(trial: FrozenTrial) -> State:
    if trial.state == TrialState.PRUNED:
        return "pruned"
    return "infeasible" if trial.user_attrs.get("state") == "infeasible" else "complete"


def value_of(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return restored(trial.value)


def choice_of(trial: FrozenTrial) -> Choice:
    return tuple(trial.user_attrs["choice"])


def trained_with(objective: Objective, settings: SearchSettings) -> dict[str, Any]:
    """What scores of an objective that trains depend on besides the plan; empty for others."""
    return {"steps": objective.steps, "lr": settings.finetune_lr} if objective.steps else {}


def storable_scores(stage: str, score: Score) -> dict[str, float]:
    """The attributes of a score that a study stores besides its value."""
    return {f"{stage}_stderr": storable(score.stderr)} | {k: storable(v) for k, v in score.details.items()}


def ranking(records: Iterable[Evaluated], score: str) -> list[Evaluated]:
    """Complete records by score, the best first; equal ones in their original order."""
    complete = [r for r in records if r.state == "complete" and score in r.scores]
    return sorted(complete, key=lambda r: r.scores[score])


def _digest(value: Sequence[object]) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]
