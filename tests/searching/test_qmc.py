"""Points of a Sobol sequence: those of scipy, shifted, whoever asks for them and in which order."""

from __future__ import annotations

import numpy as np
import optuna
from scipy.stats.qmc import Sobol, discrepancy

from ranksearch.searching.studies.qmc import SobolSampler


def points(ordinals: list[int], seed: int = 3) -> dict[int, list[float]]:
    found = {}
    for ordinal in ordinals:
        study = optuna.create_study(sampler=SobolSampler(seed, ordinal))
        trial = study.ask()
        found[ordinal] = [trial.suggest_float(name, 0, 1) for name in "abc"]
    return found


def test_points_are_those_of_the_sequence_shifted_modulo_1() -> None:
    found = np.array([*points([*range(16)]).values()])
    shift = np.mod(found - Sobol(3, scramble=False).random(16), 1.0)
    assert np.allclose(np.cos(2 * np.pi * shift), np.cos(2 * np.pi * shift[0]), atol=1e-9)
    assert np.allclose(np.sin(2 * np.pi * shift), np.sin(2 * np.pi * shift[0]), atol=1e-9)
    rng = np.random.default_rng(0)
    assert discrepancy(found) < min(discrepancy(rng.random((16, 3))) for _ in range(20))


def test_a_point_depends_on_its_ordinal_and_the_seed_alone() -> None:
    forth = points([0, 1, 2, 5])
    assert forth == points([5, 2, 1, 0])
    assert points([5], seed=4) != {5: forth[5]}


def test_every_kind_of_parameter_takes_values_of_its_own() -> None:
    found = []
    for ordinal in range(32):
        trial = optuna.create_study(sampler=SobolSampler(0, ordinal)).ask()
        number, size = trial.suggest_int("n", 1, 4), trial.suggest_float("x", 0.1, 10, log=True)
        found.append((number, size, trial.suggest_categorical("c", ["p", "q"])))
    counts = np.bincount([n for n, _, _ in found])[1:]
    assert counts.min() >= 7  # of 8
    assert counts.max() <= 9
    assert all(0.1 <= x <= 10 for _, x, _ in found)
    assert sum(x < 1 for _, x, _ in found) in range(15, 18)
    assert {c for _, _, c in found} == {"p", "q"}
