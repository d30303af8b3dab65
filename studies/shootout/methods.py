"""The methods that are compared, and the candidates that each chooses from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from ranksearch.costs import Budget
from ranksearch.errors import InputError, expected
from ranksearch.networks import run as run_model
from ranksearch.objectives import Scoring
from ranksearch.planning import CandidateConfig, Choice, Problem, prepare
from ranksearch.searching import SearchSettings, search
from ranksearch.searching.baselines import ALLOCATORS, Context, Evaluations
from ranksearch.searching.baselines.published import prepare_published
from ranksearch.tasks import Task, divergence

OWN: Mapping[str, tuple[int | None, int]] = {
    "ranksearch": (0, 0),
    "ranksearch_search": (None, 0),
    "ranksearch_finetune": (None, 4),
}
"""This project: the analytic plan, the best of a search by divergence, the best after short fine-tunes.

Trials (None: as many as the run gives to every method) and fine-tuned plans.
"""

METHODS = (*OWN, *(name for name in ALLOCATORS.usable() if name != "knapsack"))
"""`knapsack` is the analytic plan, here called `ranksearch`."""

VARIANTS = ("published", "ours")


def variants(method: str) -> tuple[str, ...]:
    """This project has only its own candidates. Raises InputError for an unknown method."""
    if method not in METHODS:
        raise InputError(expected("--methods", " or ".join(METHODS), repr(method)))
    return ("ours",) if method in OWN else VARIANTS


def config_of(method: str, variant: str) -> CandidateConfig:
    """What the candidates of a cell are made by; equal ones are prepared once."""
    return CandidateConfig() if variant == "ours" else ALLOCATORS.get(method).published


@dataclass
class Bench:
    """One set of candidates for one seed, and what was measured with it so far."""

    problem: Problem
    scoring: Scoring
    published: bool
    seconds: float
    """Of the preparation."""
    known: dict[Choice, float] = field(default_factory=dict)

    def score(self, choice: Choice) -> float:
        """Held-out divergence: BatchNorm re-estimated for this project's candidates, else as it is."""
        plan = self.problem.plan(choice)
        if not self.published:
            return self.scoring.recalibrated(plan).divergence.mean
        task = self.problem.task
        model = self.problem.build(plan)
        outputs = run_model(model, self.scoring.held_out, batch_size=task.batch_size, device=task.device)
        return divergence(self.scoring.dense_outputs, outputs, task.loss).mean


def prepare_bench(task: Task, config: CandidateConfig, *, published: bool, seed: int) -> Bench:
    """Candidates, timed."""
    started = time.monotonic()
    make = prepare_published if published else _prepare
    problem = make(task, config, seed=seed)
    return Bench(problem, Scoring(problem, seed=seed), published, time.monotonic() - started)


def _prepare(task: Task, config: CandidateConfig, *, seed: int) -> Problem:
    return prepare(task, config=config, seed=seed)


def choose(
    bench: Bench, method: str, budget: float, metric: str, *, seed: int, trials: int
) -> tuple[Choice, int]:
    """A method's plan, and how many plans it ran the model with. Raises BudgetError."""
    problem = bench.problem
    if method in OWN:
        n_trials, finetune_trials = OWN[method]
        settings = SearchSettings(
            budgets=(budget,),
            metric=metric,
            seed=seed,
            n_trials=trials if n_trials is None else n_trials,
            refit_trials=0,
            finetune_trials=finetune_trials,
        )
        (result,) = search(problem, settings)
        ran = [
            record
            for record in result.records
            if record.stage != "reconstruction"
            and record.state != "infeasible"
            and record.duplicate_of is None
        ]
        picked = [result.plan.choices[table.layer.name] for table in problem.tables]
        choice = tuple(t.candidates.index(c) for t, c in zip(problem.tables, picked, strict=True))
        return choice, len(ran)
    evaluate = Evaluations(bench.score, bench.known)
    context = Context(problem, Budget.of(problem.dense, budget, metric), evaluate, seed, trials)
    return ALLOCATORS.get(method).allocate(context), evaluate.used
