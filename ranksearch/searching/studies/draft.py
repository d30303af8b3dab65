"""A trial that this process runs, in a database: what is said of it is written in one transaction, when it ends.

Each parameter and attribute of its own takes four round trips to the server. Nobody needs them before the trial has
ended, and of one that does not end nothing is lost: it is run again.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

from optuna.distributions import BaseDistribution, check_distribution_compatibility
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from ranksearch.searching.studies.patient import concluding


def drafted(study: Study, trial: FrozenTrial, before: Sequence[FrozenTrial]) -> Study:
    """The study in which what is said of the trial is kept until it ends; the study itself where it is in no database.

    trial: claimed by this process. before: finished trials, whose parameters its own have to agree with.
    """
    conclude = concluding(study)
    if conclude is None:
        return study
    own = copy.copy(study)
    own._storage = cast(BaseStorage, _Draft(study._storage, conclude, trial, before))
    return own


class _Draft:
    """A storage as who runs one of its trials sees it."""

    def __init__(
        self,
        storage: BaseStorage,
        conclude: Callable[..., None],
        trial: FrozenTrial,
        before: Sequence[FrozenTrial],
    ) -> None:
        self._storage, self._conclude, self._before = storage, conclude, before
        self._trial = copy.deepcopy(trial)
        self._trial.state = TrialState.RUNNING
        self._written: dict[str, dict[str, Any]] = {"params": {}, "user_attrs": {}, "system_attrs": {}}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """The trial as it is known here."""
        return copy.deepcopy(self._trial) if self._is_own(trial_id) else self._storage.get_trial(trial_id)

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """Its system attributes."""
        return self.get_trial(trial_id).system_attrs

    def set_trial_param(self, trial_id: int, name: str, value: float, distribution: BaseDistribution) -> None:
        """Note a parameter. Raises ValueError where other trials have another of that name."""
        if not self._is_own(trial_id):
            self._storage.set_trial_param(trial_id, name, value, distribution)
            return
        others = (
            trial.distributions[name] for trial in reversed(self._before) if name in trial.distributions
        )
        check_distribution_compatibility(next(others, distribution), distribution)
        self._trial.distributions[name] = distribution
        self._trial.params[name] = distribution.to_external_repr(value)
        self._written["params"][name] = (value, distribution)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note an attribute."""
        if self._is_own(trial_id):
            self._trial.user_attrs[key] = self._written["user_attrs"][key] = value
        else:
            self._storage.set_trial_user_attr(trial_id, key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Note an attribute of Optuna's."""
        if self._is_own(trial_id):
            self._trial.system_attrs[key] = self._written["system_attrs"][key] = value
        else:
            self._storage.set_trial_system_attr(trial_id, key, value)

    def set_trial_intermediate_value(self, trial_id: int, step: int, value: float) -> None:
        """Write an intermediate value, which others compare theirs with, at once."""
        self._storage.set_trial_intermediate_value(trial_id, step, value)
        if self._is_own(trial_id):
            self._trial.intermediate_values[step] = value

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """End the trial, with all that was noted."""
        if not self._is_own(trial_id):
            return self._storage.set_trial_state_values(trial_id, state, values)
        self._conclude(trial_id, state, values, **self._written)
        return True

    def _is_own(self, trial_id: int) -> bool:
        return trial_id == self._trial._trial_id
