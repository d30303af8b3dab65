"""How much each parameter of a search space decides whether a trial is among the best."""

from __future__ import annotations

from collections.abc import Mapping

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study

from ranksearch.searching.job import state_of
from ranksearch.searching.studies import finished

FEWEST = 20
"""Different scores; with fewer, importances are noise."""


def parameter_importances(study: Study) -> Mapping[str, float]:
    """The share of each parameter, the largest first; empty where the trials are too few, or too alike, to tell.

    By PED-ANOVA (Watanabe, Bansal and Hutter 2023, arXiv:2304.10255): how differently a parameter is distributed among
    the best tenth of the trials. Plans above the budget, whose values are penalties, do not count.
    """
    scored = [trial for trial in finished(study) if state_of(trial) == "complete" and trial.params]
    if len({trial.value for trial in scored}) < FEWEST:
        return {}
    alone = optuna.create_study()
    alone.add_trials(scored)
    found = get_param_importances(alone, evaluator=PedAnovaImportanceEvaluator())
    return {name: found[name] for name in sorted(found, key=lambda name: -found[name])}
