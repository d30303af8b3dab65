"""What a search is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite

from ranksearch.costs import COSTS, Budget, Cost, Kept, Limits, Part, counted, is_measured
from ranksearch.errors import InputError, expected
from ranksearch.objectives import OBJECTIVES
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.searching.baselines import ALLOCATORS
from ranksearch.searching.studies import SAMPLERS

ALLOCATOR_TRIALS = 40
"""Default number of plans that an allocator may evaluate."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Settings of a search; names follow Optuna's.

    `budgets` say how much to keep in `metric`, with one search each; `limits` are upper limits in other cost metrics.
    Numbers and strings are parsed by `Kept.parse`. `n_trials` plans are scored by `objective`, the
    analytic one first; 0, the default, takes the analytic plan without running the model. No further trial
    starts when `timeout` seconds have passed since the budget's first. Then the `finetune_trials` best distinct
    plans are fitted as they would be delivered and fine-tuned for `finetune_steps` steps at a learning rate of
    `finetune_lr`, and the best of these wins; without that stage, 0, the `refit_trials` best are compared as they
    would be delivered, and the best of these wins; 0 leaves that out too. An `allocator` other than the
    knapsack, one of `ranksearch.searching.baselines`, replaces all this: its plan is the result, and if it evaluates
    plans it may use `n_trials` of them, by default 40. `storage` is the path of a journal file or an RDB URL; None
    keeps studies in memory. `multiples` are numbers that the ranks of a plan had best be multiples of, the best first:
    candidates are limited to those of the first number that costs next to nothing, see `planning.aligned`.
    `budget_of` is the part of the model that budgets and limits count, see `planning.take_part`; None stands for all.
    """

    budgets: tuple[Kept, ...]
    metric: str = "params"
    limits: Limits = ()
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
    multiples: tuple[int, ...] = ()
    budget_of: str | None = None

    @property
    def searches(self) -> bool:
        """Whether there are trials around the analytic plan."""
        return self.trials > 0 and self.allocator == "knapsack"

    @property
    def trials(self) -> int:
        """The number of plans that are scored."""
        default = 0 if self.allocator == "knapsack" else ALLOCATOR_TRIALS
        return default if self.n_trials is None else self.n_trials

    @property
    def metrics(self) -> tuple[str, ...]:
        """The cost metrics that candidates need a value for."""
        return counted(self.metric, *(name for name, _ in self.limits))

    def budgets_of(self, dense: Cost, part: Part | None = None) -> tuple[Budget, ...]:
        """The budgets of a model that costs `dense`; part: what counts of it."""
        return tuple(Budget.of(dense, kept, self.metric, self.limits, part) for kept in self.budgets)

    def __post_init__(self) -> None:
        budgets = tuple(Kept.parse(budget) for budget in self.budgets)
        limits = tuple((COSTS.resolve(name).name, Kept.parse(kept)) for name, kept in self.limits)
        object.__setattr__(self, "budgets", budgets)
        object.__setattr__(self, "limits", limits)
        object.__setattr__(self, "metric", COSTS.resolve(self.metric).name)
        if not budgets:
            raise InputError(expected("budget", "at least one", "none"))
        if len(set(budgets)) < len(budgets):
            raise InputError(expected("budget", "distinct ones", [kept.name for kept in budgets]))
        if limits and self.allocator != "knapsack":
            wanted = "knapsack, the only one that keeps to several limits"
            raise InputError(expected("allocator", wanted, repr(self.allocator), "Leave the limits out."))
        names = [self.metric, *(name for name, _ in limits)]
        if len(set(names)) < len(names):
            raise InputError(expected("limit", "cost metrics other than the budget's, each once", names))
        if self.budget_of is not None and (measured := [name for name in names if is_measured(name)]):
            way_out = "Leave `budget_of` out: a time is the whole model's."
            got = f"{measured[0]}, which is measured"
            raise InputError(expected("budget_of", "cost metrics that add up over layers", got, way_out))
        for field, registry in (
            ("space", SEARCH_SPACES),
            ("allocator", ALLOCATORS),
            ("sampler", SAMPLERS),
            ("objective", OBJECTIVES),
        ):
            object.__setattr__(self, field, registry.resolve(getattr(self, field)).name)
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
                raise InputError(expected(name, f"a whole number, {least} or more", value))
        if not (isfinite(self.finetune_lr) and self.finetune_lr > 0):
            raise InputError(expected("finetune_lr", "a positive number", self.finetune_lr))
        if self.timeout is not None and not (isfinite(self.timeout) and self.timeout > 0):
            raise InputError(expected("timeout", "a positive number of seconds", self.timeout))
        if not self.study_name:
            raise InputError(expected("study_name", "a name", "an empty one"))
