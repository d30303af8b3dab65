"""Baselines: how the methods of the field choose ranks, by name, on the same tables and under the same budget."""

from __future__ import annotations

from ranksearch.errors import InputError, expected
from ranksearch.searching.baselines.aimet import AIMET
from ranksearch.searching.baselines.alds import ALDS
from ranksearch.searching.baselines.balf import BALF
from ranksearch.searching.baselines.base import Baseline, Context, Evaluations, check_weights
from ranksearch.searching.baselines.bayes_layer import BAYES_LAYER
from ranksearch.searching.baselines.energy import ENERGY
from ranksearch.searching.baselines.evbmf import EVBMF
from ranksearch.searching.baselines.fwsvd import FWSVD
from ranksearch.searching.baselines.knapsack import KNAPSACK
from ranksearch.searching.baselines.lc import LC
from ranksearch.searching.baselines.optuna_ranks import OPTUNA
from ranksearch.searching.baselines.published import prepare_published
from ranksearch.searching.baselines.uniform import UNIFORM

BASELINES: dict[str, Baseline] = {}


def register(baseline: Baseline) -> None:
    """Offer a method under its name."""
    if baseline.name in BASELINES:
        raise InputError(expected("allocator name", "one that is free", repr(baseline.name)))
    BASELINES[baseline.name] = baseline


def get_baseline(name: str) -> Baseline:
    """The method of that name. Raises InputError that lists them."""
    if name not in BASELINES:
        raise InputError(expected("allocator", " or ".join(BASELINES), repr(name)))
    return BASELINES[name]


for _baseline in (KNAPSACK, UNIFORM, ENERGY, EVBMF, BALF, ALDS, AIMET, LC, FWSVD, BAYES_LAYER, *OPTUNA):
    register(_baseline)

__all__ = [
    "BASELINES",
    "Baseline",
    "Context",
    "Evaluations",
    "check_weights",
    "get_baseline",
    "prepare_published",
    "register",
]
