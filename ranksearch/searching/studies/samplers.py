"""Samplers by name; a new one is created for every trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial

from ranksearch.searching.studies.qmc import SobolSampler
from ranksearch.searching.studies.queue import place

# With Optuna's default population of 50 a study of about 40 trials would not leave its first generation.
_POPULATION = 12


class _NSGAII(NSGAIISampler):
    """Optuna's, with the parents of a generation always in the order of their trials.

    In Optuna's sampler their order differs between when they are chosen and when they are read back, so the first trial
    of a generation would differ if it had to be repeated.
    """

    def select_parent(self, study: Study, generation: int) -> list[FrozenTrial]:
        return sorted(super().select_parent(study, generation), key=place)


@dataclass(frozen=True)
class Sampler:
    """An Optuna sampler by name; `make(seed)` creates a new one, with a seed of its own for each trial.

    point: instead, of the search's seed and the trial's ordinal, where all trials are of one sequence.
    """

    name: str
    make: Callable[[int], BaseSampler]
    point: Callable[[int, int], BaseSampler] | None = None

    def of_trial(self, seed: int, ordinal: int) -> BaseSampler:
        """The sampler of a trial."""
        if self.point is not None:
            return self.point(seed, ordinal)
        return self.make(int(np.random.SeedSequence([seed, ordinal]).generate_state(1)[0]))


TPE = Sampler("tpe", lambda seed: TPESampler(seed=seed))
RANDOM = Sampler("random", lambda seed: RandomSampler(seed=seed))
NSGAII = Sampler("nsgaii", lambda seed: _NSGAII(seed=seed, population_size=_POPULATION))
QMC = Sampler("qmc", lambda seed: SobolSampler(seed, 0), SobolSampler)
GP = Sampler("gp", lambda seed: GPSampler(seed=seed, warn_independent_sampling=False))
