"""`bayes_layer`: Bayesian optimisation of each layer's rank, then one exchange rate for all layers.

Kim, Lee & Choe, Bayesian optimization-based global optimal rank selection for compression of convolutional
neural networks, IEEE Access 8, 2020: a Gaussian process proposes ranks that trade the loss of accuracy for the
cost, both as fractions, in one simple objective. Here it runs per layer, the others dense, on the measured
divergence; the layers' measured curves are then joined under the budget by one price, as in `lc`.
"""

from __future__ import annotations

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import GPSampler

from ranksearch.planning import CandidateConfig, Choice, Front
from ranksearch.searching.baselines.aimet import monotone
from ranksearch.searching.baselines.base import Allocator, Context
from ranksearch.searching.baselines.rules import one_price
from ranksearch.searching.studies import quiet_optuna

LEAST = 4
"""Minimum number of evaluations per layer: fewer do not determine a curve."""


def bayes_layer(context: Context) -> Choice:
    """Errors are interpolated between the measured ranks of each layer."""
    fronts = context.fronts()
    context.room(fronts)
    each = max(LEAST, context.evaluations // len(fronts))
    with quiet_optuna():
        curves = [measured(context, fronts, layer, each) for layer in range(len(fronts))]
    return one_price(context, curves)


def measured(context: Context, fronts: list[Front], layer: int, count: int) -> NDArray[np.float64]:
    """The divergence of every candidate of a layer, from at most `count` evaluations."""
    front, table = fronts[layer], context.problem.tables[layer]
    dense = [int(other.indices[-1]) for other in fronts]
    last = len(front.indices) - 1
    found = {last: 0.0}

    def divergence(position: int) -> float:
        if position not in found:
            dense[layer] = int(front.indices[position])
            found[position] = float(monotone([context.evaluate(tuple(dense))])[0])
        return found[position]

    if last:
        worst = max(divergence(0), 1e-12)
        sampler = GPSampler(seed=context.seed, n_startup_trials=2, warn_independent_sampling=False)
        study = optuna.create_study(sampler=sampler)
        study.enqueue_trial({"rank": 1})

        def objective(trial: optuna.Trial) -> float:
            position = trial.suggest_int("rank", 1, last) - 1
            return divergence(position) / worst + float(front.costs[position] / front.costs[-1])

        study.optimize(objective, n_trials=count)
    known = sorted(found)
    values = monotone([found[p] for p in known])
    costs = table.costs(context.budget.metric)
    curve = np.interp(costs, front.costs[known], values)
    # Candidates off the front are never chosen, as a better one costs no more.
    curve[np.setdiff1d(np.arange(len(costs)), front.indices)] = values[0] + 1.0
    return np.asarray(curve)


BAYES_LAYER = Allocator(
    "bayes_layer", bayes_layer, CandidateConfig(decompositions=("svd",), error="plain"), evaluates=True
)
