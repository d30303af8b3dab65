"""A promised drop: the smallest budget that keeps it is looked for, model by model, and the record says whether it is
kept."""

from __future__ import annotations

from dataclasses import dataclass, replace

from optuna.storages import BaseStorage

from ranksearch.costs import Kept
from ranksearch.errors import InputError, expected
from ranksearch.planning import LookRecord, Network, Problem, PromiseRecord, drop_of, finite
from ranksearch.progress import Reporter
from ranksearch.runs.account import Account
from ranksearch.runs.deliver import deliver
from ranksearch.runs.evaluation import Saved, rewritten
from ranksearch.runs.options import RunOptions
from ranksearch.runs.record import record_search
from ranksearch.runs.run_folder import RunFolder
from ranksearch.searching import (
    CONFIDENCE,
    LOOKS,
    SearchResult,
    SearchSettings,
    WithinDrop,
    predicted_errors,
    search,
    smallest_within,
)
from ranksearch.searching.studies import Board
from ranksearch.tasks import Drop, metric_name


@dataclass(frozen=True)
class Promise:
    """What was delivered on the way, the largest budget first, and the chosen model, whose record holds the promise."""

    results: tuple[SearchResult, ...]
    delivered: tuple[Saved, ...]
    chosen: Saved


def keep_promise(
    problem: Problem,
    network: Network,
    settings: SearchSettings,
    options: RunOptions,
    folder: RunFolder,
    reporter: Reporter,
    account: Account,
    storage: BaseStorage | None,
    board: Board | None,
) -> Promise:
    """Deliver models until the smallest budget is known whose model loses no more than `max_drop`.

    The validation data decide; the test data are looked at for the chosen model alone. What was delivered before is not
    made again, so that a run that was killed goes on.
    """
    assert options.max_drop is not None
    task, unit = problem.task, metric_name(problem.task)
    results: list[SearchResult] = []

    def make(kept: Kept) -> tuple[Saved, Drop]:
        own = replace(settings, budgets=(kept,))
        results.extend(search(problem, own, storage=storage, progress=reporter.progress, board=board))
        record_search(problem, results, options, folder, reporter, tell=len(results) - 1)
        (saved,) = deliver(
            task,
            network,
            options,
            folder,
            reporter,
            account,
            budgets=(kept.name,),
            roles=("validation",),
        )
        found = saved.record.behaviour.get("validation")
        if found is None:
            raise InputError(expected("max_drop", "labels of all validation data", "some without"))
        drop = drop_of(found) or Drop(float("inf"), 0.0, 1)  # a metric that is not finite
        reporter.line(f"budget {kept.name}: loses {drop.mean:.3g} {unit} on {drop.count:,} validation images")
        return saved, drop

    found = smallest_within(predicted_errors(problem, settings), make, options.max_drop)
    (chosen,) = deliver(
        task, network, options, folder, reporter, account, budgets=(found.chosen.budget.name,)
    )
    chosen = rewritten(chosen, {"promise": promise_record(found, options.max_drop, chosen)})
    others = [look.made for look in found.looks if look.made.folder != chosen.folder]
    delivered = sorted((*others, chosen), key=lambda each: each.record.budget, reverse=True)
    return Promise(tuple(results), tuple(delivered), chosen)


def promise_record(found: WithinDrop[Saved], max_drop: float, chosen: Saved) -> PromiseRecord:
    """What a plan file says of a promise."""
    test = chosen.record.behaviour.get("test")
    drop = None if test is None else drop_of(test)
    return PromiseRecord(
        max_drop=max_drop,
        confidence=CONFIDENCE,
        most_looks=LOOKS,
        looks=tuple(
            LookRecord(asked=x.budget.name, drop=x.drop.mean, bound=finite(x.bound), kept=x.kept)
            for x in found.looks
        ),
        kept=found.chosen.kept,
        held_on_test=None if test is None else drop is not None and drop.mean <= max_drop,
    )
