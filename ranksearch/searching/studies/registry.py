"""The samplers, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ranksearch.registry import Registry

if TYPE_CHECKING:
    from ranksearch.searching.studies.samplers import Sampler


def _is_one(thing: Any) -> bool:
    from ranksearch.searching.studies.samplers import Sampler

    return isinstance(thing, Sampler)


SAMPLERS: Registry[Sampler] = Registry("sampler", "", _is_one, "a Sampler")

# CMA-ES is left out: Optuna's version mixes the trial's number into its seed, so a resumed study, whose numbers
# count failed trials, would propose other plans.
_HERE = "ranksearch.searching.studies.samplers"
SAMPLERS.offer("tpe", f"{_HERE}:TPE", "tree-structured Parzen estimators")
SAMPLERS.offer("random", f"{_HERE}:RANDOM", "at random")
SAMPLERS.offer("qmc", f"{_HERE}:QMC", "a Sobol sequence")
SAMPLERS.offer("nsgaii", f"{_HERE}:NSGAII", "a genetic algorithm")
SAMPLERS.offer("gp", f"{_HERE}:GP", "a Gaussian process")
