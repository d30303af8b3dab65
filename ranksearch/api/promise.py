"""The smallest model that keeps to a drop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ranksearch.api.models import behaviour
from ranksearch.api.preparing import Preparation
from ranksearch.compression import CompressConfig, Compressed
from ranksearch.compression import compress as compress_plan
from ranksearch.costs import Kept
from ranksearch.keywords import checks_keywords
from ranksearch.networks import draws_alone
from ranksearch.planning import preferred
from ranksearch.searching import (
    SearchResult,
    SearchSettings,
    check_max_drop,
    predicted_errors,
    smallest_within,
)
from ranksearch.searching import search as search_problem
from ranksearch.tasks import Drop, Task


@dataclass(frozen=True)
class Smallest:
    """The smallest model that keeps to a drop, or the nearest one.

    kept: whether `bound`, the upper end of the drop's confidence interval on the validation data, is within what was
    allowed. drop, test_drop: what it loses on the validation and the test data, the latter None without labelled data.
    looks: by budget, the drop of every model that was made and its bound.
    """

    result: SearchResult
    compressed: Compressed
    kept: bool
    drop: Drop
    bound: float
    test_drop: Drop | None
    looks: Mapping[str, tuple[Drop, float]]


@checks_keywords
@draws_alone
def smallest(
    task: Task,
    max_drop: float,
    *,
    metric: str = "params",
    limits: Mapping[str, float | str] | None = None,
    budget_of: str | None = None,
    config: CompressConfig | None = None,
    decompositions: str | Sequence[str] | None = None,
    min_rank: int = 1,
    rank_multiple: int | str | Mapping[str, int | str] | None = None,
    runtime: str = "torch",
    latency_batch: int = 1,
    ignore: str | Sequence[str] = (),
    protect_early: int | tuple[int, float] = 0,
    probe: str | Path | None = None,
    allocator: str = "knapsack",
    seed: int = 0,
) -> Smallest:
    """The model of the smallest budget that loses at most `max_drop` of the task metric, after at most six models.

    The upper end of a confidence interval of the drop counts, on the validation data, which nothing is fitted to: with
    97.5 % confidence, over all models that are looked at, the one that is taken keeps to the drop. config: how models
    are compressed, as for `compress`. The others are those of `search`.

    Raises InputError where there are no labelled validation data, or too few to show so small a drop.
    """
    check_max_drop(task, max_drop)
    wanted = SearchSettings(
        multiples=preferred(rank_multiple),
        budgets=(Kept(fraction=1.0),),
        metric=metric,
        limits=tuple((name, Kept.parse(kept)) for name, kept in (limits or {}).items()),
        budget_of=budget_of,
        allocator=allocator,
        seed=seed,
    )
    how = Preparation(
        decompositions, min_rank, rank_multiple, runtime, latency_batch, ignore, protect_early, probe
    )
    problem = how.problem(task, wanted)

    def make(kept: Kept) -> tuple[tuple[SearchResult, Compressed], Drop]:
        (result,) = search_problem(problem, replace(wanted, budgets=(kept,)))
        compressed = compress_plan(task, result.plan, config=config, layers=problem.layers)
        found = behaviour(task, compressed, "validation")
        assert found is not None  # the data were checked
        return (result, compressed), found.drop

    found = smallest_within(predicted_errors(problem, wanted), make, max_drop)
    result, compressed = found.chosen.made
    test = behaviour(task, compressed, "test")
    return Smallest(
        result,
        compressed,
        found.chosen.kept,
        found.chosen.drop,
        found.chosen.bound,
        None if test is None else test.drop,
        {look.budget.name: (look.drop, look.bound) for look in found.looks},
    )
