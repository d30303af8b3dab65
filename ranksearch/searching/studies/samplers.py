"""Samplers by name, each made anew for every trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

# Optuna's default population of 50 would spend a whole study of some 40 trials on its first generation.
_POPULATION = 12


class _NSGAII(NSGAIISampler):
    """Optuna's, with the parents of a generation always in the order of their trials.

    Optuna's hands them over in another order when they are chosen than when they are read back, so that the
    first trial of a generation would differ if it had to be asked again.
    """

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().select_parent(study, generation), key=lambda trial: trial.number)


@dataclass(frozen=True)
class Sampler:
    """An Optuna sampler by name; `make(seed)` makes one anew."""

    name: str
    make: Callable[[int], BaseSampler]


TPE = Sampler("tpe", lambda seed: TPESampler(seed=seed))
RANDOM = Sampler("random", lambda seed: RandomSampler(seed=seed))
NSGAII = Sampler("nsgaii", lambda seed: _NSGAII(seed=seed, population_size=_POPULATION))
GP = Sampler("gp", lambda seed: GPSampler(seed=seed, warn_independent_sampling=False))
