"""`optuna_tpe`, `optuna_nsgaii`, `optuna_random`: Optuna on raw ranks, one integer per layer.

Akiba et al., Optuna: a next-generation hyperparameter optimization framework, KDD 2019. The space is `ranks`,
the budget a constraint that samplers learn from; the first trial is the uniform plan, without which a study
might find no plan within a small budget.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import isfinite

import optuna
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler, TPESampler

from ranksearch.planning import CandidateConfig, Choice, choice_of, uniform, walk_on
from ranksearch.search_spaces import Ranks
from ranksearch.searching.baselines.base import Allocator, Context
from ranksearch.searching.studies import quiet_optuna

PROPOSALS = 10
"""Maximum number of trials per evaluation: most proposals exceed the budget and are not run."""


def optuna_ranks(context: Context, sampler: Callable[[int], BaseSampler]) -> Choice:
    """The best plan of the study; the rest of the budget is spent as in `uniform`."""
    tables = context.problem.tables
    first = uniform(tables, context.budget)
    space = Ranks(tables, context.budget)
    worst = sum(float(table.errors().max()) for table in tables)
    scores: dict[Choice, float] = {}

    def objective(trial: optuna.Trial) -> float:
        choice = space.suggest(trial)
        plan = context.problem.plan(choice)
        overshoot = plan.cost.of(context.budget.metric) / context.budget.limit - 1
        if overshoot > 0:
            return plan.error + worst * (1 + overshoot)
        value = context.evaluate(choice)
        scores[choice] = value if isfinite(value) else 1e9
        return scores[choice]

    def enough(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if len(scores) >= context.evaluations:
            study.stop()

    with quiet_optuna():
        study = optuna.create_study(sampler=sampler(context.seed))
        study.enqueue_trial(space.express(first) or {})
        study.optimize(objective, n_trials=PROPOSALS * context.evaluations, callbacks=[enough])
    best = min(scores, key=lambda choice: scores[choice], default=first)
    fronts = context.fronts()
    places = [front.indices.tolist().index(k) for front, k in zip(fronts, best, strict=True)]
    shares = [
        f.costs[1:] / max(1, t.dense.of(context.budget.metric)) for f, t in zip(fronts, tables, strict=True)
    ]
    return choice_of(fronts, walk_on(fronts, places, shares, context.room(fronts)))


def _allocator(name: str, sampler: Callable[[int], BaseSampler]) -> Allocator:
    plain = CandidateConfig(decompositions=("svd",), error="plain")
    return Allocator(name, partial(optuna_ranks, sampler=sampler), plain, evaluates=True)


OPTUNA_TPE = _allocator("optuna_tpe", lambda seed: TPESampler(seed=seed))
# With Optuna's population of 50 a study of about 40 evaluations would not leave its first generation.
OPTUNA_NSGAII = _allocator("optuna_nsgaii", lambda seed: NSGAIISampler(seed=seed, population_size=12))
OPTUNA_RANDOM = _allocator("optuna_random", lambda seed: RandomSampler(seed=seed))
