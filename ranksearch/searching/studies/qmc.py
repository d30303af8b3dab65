"""Points of one Sobol sequence, whoever proposes them.

Optuna's own QMC sampler keeps the place in the sequence in the study, where two processes may read the same one, and
learns the search space from the first trial that ends. Here a trial's ordinal is its place, and the dimension of a
parameter its place among those of the trial.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study
from optuna.trial import FrozenTrial
from scipy.stats.qmc import Sobol


class SobolSampler(BaseSampler):
    """One point of a Sobol sequence, shifted at random modulo 1 (Cranley & Patterson 1976).

    seed: of the shift, the same for all trials of a study. ordinal: the place in the sequence.
    """

    def __init__(self, seed: int, ordinal: int) -> None:
        self._seed = seed
        self._ordinal = ordinal

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        space = _SearchSpaceTransform({param_name: param_distribution}, transform_0_1=True)
        first, width = len(trial.params), len(space.bounds)
        return space.untransform(self._coordinates(first, width))[param_name]

    def _coordinates(self, first: int, width: int) -> NDArray[np.float64]:
        """Coordinates of the point from a dimension on; those of a Sobol sequence do not depend on further ones."""
        sequence = Sobol(first + width, scramble=False)
        if self._ordinal:
            sequence.fast_forward(self._ordinal)
        point = sequence.random(1)[0, first:]
        shifts = [
            np.random.default_rng([self._seed, dimension]).random()
            for dimension in range(first, first + width)
        ]
        return np.asarray(np.mod(point + shifts, 1.0))
