"""The allocators, by name: this project's own, and methods from the literature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranksearch.errors import InputError, expected
from ranksearch.registry import Registry

if TYPE_CHECKING:
    from ranksearch.planning import LayerWeights
    from ranksearch.searching.baselines.base import Allocator


def _is_one(thing: Any) -> bool:
    from ranksearch.searching.baselines.base import Allocator

    return isinstance(thing, Allocator)


ALLOCATORS: Registry[Allocator] = Registry("allocator", "ranksearch.allocators", _is_one, "an Allocator")

_HERE = "ranksearch.searching.baselines"
ALLOCATORS.offer("knapsack", f"{_HERE}.knapsack:KNAPSACK", "the analytic plan, then trials around it, if any")
ALLOCATORS.offer("uniform", f"{_HERE}.uniform:UNIFORM", "the same fraction of every layer")
ALLOCATORS.offer("energy", f"{_HERE}.energy:ENERGY", "the same fraction of every layer's energy")
ALLOCATORS.offer("evbmf", f"{_HERE}.evbmf:EVBMF", "ranks by variational Bayes (Kim et al. 2016)")
ALLOCATORS.offer("balf", f"{_HERE}.balf:BALF", "relative activation-aware errors, Lagrangian (BALF)")
ALLOCATORS.offer("alds", f"{_HERE}.alds:ALDS", "least largest relative error (ALDS)")
ALLOCATORS.offer("aimet", f"{_HERE}.aimet:AIMET", "greedy, by measured scores of single layers (AIMET)")
ALLOCATORS.offer("lc", f"{_HERE}.lc:LC", "cost and squared error at one price (LC)")
ALLOCATORS.offer("fwsvd", f"{_HERE}.fwsvd:FWSVD", "Fisher-weighted SVD, the same fraction of every layer")
ALLOCATORS.offer(
    "bayes_layer",
    f"{_HERE}.bayes_layer:BAYES_LAYER",
    "Bayesian optimisation layer by layer (Kim et al. 2020)",
)
ALLOCATORS.offer("optuna_tpe", f"{_HERE}.optuna_ranks:OPTUNA_TPE", "Optuna's TPE on raw ranks")
ALLOCATORS.offer("optuna_nsgaii", f"{_HERE}.optuna_ranks:OPTUNA_NSGAII", "Optuna's NSGA-II on raw ranks")
ALLOCATORS.offer("optuna_random", f"{_HERE}.optuna_ranks:OPTUNA_RANDOM", "random search on raw ranks")


def check_weights(weights: LayerWeights, allocator: str) -> None:
    """Raise InputError if an allocator ignores the weights of layers."""
    if weights.weighs and not ALLOCATORS.get(allocator).weighs:
        weighing = [name for name in ALLOCATORS.usable() if ALLOCATORS.get(name).weighs]
        wanted = f"{' or '.join(weighing)}, which weigh the errors of layers"
        way_out = "Leave out the probe, and the weight of `protect_early`."
        raise InputError(expected("allocator", wanted, repr(allocator), way_out))
