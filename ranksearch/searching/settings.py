"""What a search is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from ranksearch.costs import METRICS, Metric
from ranksearch.errors import InputError, expected
from ranksearch.objectives import OBJECTIVES
from ranksearch.search_spaces import get_search_space
from ranksearch.searching.baselines import get_baseline
from ranksearch.searching.studies import SAMPLERS

ALLOCATOR_TRIALS = 40
"""Plans that an allocator may evaluate, where nothing is said."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Settings of a search; names follow Optuna's.

    `budgets` are the fractions kept, one search each. `n_trials` plans are scored by `objective`, the
    analytic one first; 0, the default, takes the analytic plan without running the model. No further trial
    starts when `timeout` seconds have passed since the budget's first. Then the `finetune_trials` best distinct
    plans are fitted as they would be delivered and fine-tuned for `finetune_steps` steps at a learning rate of
    `finetune_lr`, and the best of these wins; without that stage, 0, the `refit_trials` best are compared as they
    would be delivered, and the best of these wins; 0 leaves that out too. Another `allocator` than the knapsack,
    one of `ranksearch.searching.baselines`, takes the place of all this: its plan is the result, and where it evaluates
    plans it is given `n_trials`, by default 40. `storage` is the path of a journal file or an RDB URL; None keeps
    studies in memory.
    """

    budgets: tuple[float, ...]
    metric: Metric = "params"
    space: str = "sensitivities"
    sampler: str = "tpe"
    n_trials: int | None = None
    timeout: float | None = None
    refit_trials: int = 2
    finetune_trials: int = 4
    finetune_steps: int = 60
    finetune_lr: float = 5e-4
    seed: int = 0
    study_name: str = "ranksearch"
    storage: str | None = None
    objective: str = "divergence"
    allocator: str = "knapsack"

    @property
    def searches(self) -> bool:
        """Whether there are trials around the analytic plan."""
        return self.trials > 0 and self.allocator == "knapsack"

    @property
    def trials(self) -> int:
        """How many plans are scored."""
        default = 0 if self.allocator == "knapsack" else ALLOCATOR_TRIALS
        return default if self.n_trials is None else self.n_trials

    def __post_init__(self) -> None:
        if not self.budgets:
            raise InputError(expected("budget", "at least one fraction kept", "none"))
        for budget in self.budgets:
            if not (isinstance(budget, int | float) and 0 < budget <= 1):
                raise InputError(expected("budget", "a fraction kept, 0 < budget <= 1", repr(budget)))
        if len(set(self.budgets)) < len(self.budgets):
            raise InputError(expected("budget", "distinct fractions", self.budgets))
        if self.metric not in METRICS:
            raise InputError(expected("metric", " or ".join(METRICS), repr(self.metric)))
        get_search_space(self.space)
        get_baseline(self.allocator)
        if self.sampler not in SAMPLERS:
            raise InputError(expected("sampler", " or ".join(SAMPLERS), repr(self.sampler)))
        if self.objective not in OBJECTIVES:
            raise InputError(expected("objective", " or ".join(OBJECTIVES), repr(self.objective)))
        whole = {} if self.n_trials is None else {"n_trials": 0}
        for name, least in (
            *whole.items(),
            ("refit_trials", 0),
            ("finetune_trials", 0),
            ("finetune_steps", 1),
            ("seed", 0),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(expected(name.replace("_", "-"), f"a whole number, {least} or more", value))
        if not (isfinite(self.finetune_lr) and self.finetune_lr > 0):
            raise InputError(expected("lr", "a positive number", self.finetune_lr))
        if self.timeout is not None and not (isfinite(self.timeout) and self.timeout > 0):
            raise InputError(expected("timeout", "a positive number of seconds", self.timeout))
        if not self.study_name:
            raise InputError(expected("study-name", "a name", "an empty one"))
