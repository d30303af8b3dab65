"""The results of a run as files: front.json (every plan, merged) and trials.csv (every evaluation)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, FiniteFloat, model_validator

from ranksearch.costs import ALWAYS, Cost, Kept
from ranksearch.files import write_text
from ranksearch.objectives import ERROR, score_label, scores_by_price
from ranksearch.planning import EstimateRecord
from ranksearch.records import Record, read_record, write_record
from ranksearch.searching.front import Evaluated, State, merged, pareto_front
from ranksearch.searching.rank_correlation import RankCorrelation, rank_correlations
from ranksearch.searching.stages import SearchResult


class PlanEntry(Record):
    """One plan that was evaluated for one budget; `ranks` has the decomposition and ranks by layer."""

    budget: float
    asked: str
    """The budget as given: 0.2, 54k."""
    origin: str
    state: State
    cost: dict[str, int]
    """Of the whole model, by cost metric."""
    scores: dict[str, FiniteFloat | None]
    """All lower is better and in units of the loss; null where infinite."""
    on_front: bool
    chosen: bool
    ranks: dict[str, str]
    delivered: dict[str, EstimateRecord] = Field(default_factory=dict)
    """The task metric of the model that was delivered for this plan, by part of the data: validation, test."""


class CorrelationRecord(Record):
    """Spearman's rank correlation of two scores over the plans of one budget that have both; null if undefined."""

    budget: float
    asked: str
    cheap: str
    expensive: str
    plans: int
    correlation: FiniteFloat | None


class ImportanceRecord(Record):
    """Of one budget's trials, by parameter of the search space, its share in what made them good, the largest first."""

    asked: str
    score: str
    shares: dict[str, FiniteFloat]


class FrontRecord(Record):
    """The content of front.json: plans by budget, in the order in which they were first evaluated."""

    version: Literal[2]
    model: str | None
    metric: str
    """The cost metric of the budgets."""
    score: str
    """The score that the front is a front of."""
    dense: dict[str, int]
    """Cost of the dense model, by cost metric."""
    weights: dict[str, FiniteFloat] = Field(default_factory=dict)
    """By layer, the factor on its errors in the allocation; empty if there were none."""
    task_metric: str | None = None
    """What the task metric is called; null where nothing was measured."""
    dense_measured: dict[str, EstimateRecord] = Field(default_factory=dict)
    """The task metric of the dense model, by part of the data."""
    plans: tuple[PlanEntry, ...]
    rank_correlations: tuple[CorrelationRecord, ...] = ()
    """Rank correlation of each score with the next more expensive one, by budget."""
    importances: tuple[ImportanceRecord, ...] = ()
    """Of budgets with enough trials."""

    @model_validator(mode="after")
    def _costs_count_the_budget(self) -> Self:
        for amounts in (self.dense, *(plan.cost for plan in self.plans)):
            if self.metric not in amounts or amounts.keys() != self.dense.keys():
                missing = ", ".join(sorted({self.metric, *self.dense} ^ amounts.keys()))
                raise ValueError(f"a cost without {missing}")
        return self


def front_record(
    results: Sequence[SearchResult],
    *,
    model: str | None,
    metric: str,
    dense: Cost,
    weights: Mapping[str, float] | None = None,
) -> FrontRecord:
    """Plans of all budgets. The front uses the score that most plans have, in a tie the most expensive one; if no model
    was run, the summed ε."""
    plans = merged(record for result in results for record in result.records)
    scores = scores_by_price(dict.fromkeys(name for plan in plans for name in plan.scores))
    given = {name: sum(name in plan.scores for plan in plans) for name in scores if name != ERROR}
    score = max(reversed(given), key=given.__getitem__) if any(given.values()) else ERROR
    front = {(p.budget, p.plan.key) for p in pareto_front(plans, metric, score)}
    chosen = {(result.budget, result.plan.key) for result in results}
    return FrontRecord(
        version=2,
        model=model,
        metric=metric,
        score=score,
        dense=dense.amounts,
        weights=dict(weights or {}),
        plans=tuple(
            PlanEntry(
                budget=p.budget.fraction,
                asked=p.budget.name,
                origin=p.origin,
                state=p.state,
                cost=p.plan.cost.amounts,
                scores={name: value if isfinite(value) else None for name, value in p.scores.items()},
                on_front=(p.budget, p.plan.key) in front,
                chosen=(p.budget, p.plan.key) in chosen,
                ranks=p.ranks,
            )
            for p in plans
        ),
        rank_correlations=tuple(correlation_record(found) for found in rank_correlations(plans)),
        importances=tuple(
            ImportanceRecord(
                asked=result.budget.name, score=result.records[0].stage, shares=dict(result.importances)
            )
            for result in results
            if result.importances
        ),
    )


def correlation_record(found: RankCorrelation) -> CorrelationRecord:
    """A correlation in its stored form."""
    budget = found.budget
    return CorrelationRecord(**{**vars(found), "budget": budget.fraction, "asked": budget.name})


def describe_correlation(found: CorrelationRecord) -> str:
    """`budget 0.2: ε ranks 42 plans as divergence does with a Spearman correlation of 0.93`."""
    cheap, expensive = score_label(found.cheap), score_label(found.expensive)
    if found.correlation is None:
        plans = f"{found.plans} plans with {cheap} and {expensive}"
        return f"budget {found.asked}: {plans}: too few, or too alike, to compare the two"
    return (
        f"budget {found.asked}: {cheap} ranks {found.plans} plans as {expensive} does "
        f"with a Spearman correlation of {found.correlation:.2f}"
    )


def write_front(path: Path, record: FrontRecord) -> None:
    """Write front.json."""
    write_record(path, record)


def read_front(path: Path) -> FrontRecord:
    """Read front.json. Raises InputError."""
    return read_record(path, FrontRecord, "front", {1: _upgraded})


def _upgraded(data: dict[str, Any]) -> dict[str, Any]:
    """A file of version 1, which only has parameters and FLOPs, in the format of version 2."""
    found = {key: value for key, value in data.items() if key not in ("dense_params", "dense_flops")}
    found |= {"version": 2, "dense": {name: data.get(f"dense_{name}") for name in ALWAYS}}
    found["rank_correlations"] = found.pop("validity", [])  # and in its entries `expensive` was `dear`
    for part in ("plans", "rank_correlations"):
        if isinstance(entries := found.get(part), list):
            found[part] = [_upgraded_entry(entry) if isinstance(entry, dict) else entry for entry in entries]
    return found


def _upgraded_entry(entry: dict[str, Any]) -> dict[str, Any]:
    found = {
        "expensive" if key == "dear" else key: value for key, value in entry.items() if key not in ALWAYS
    }
    budget = entry.get("budget")
    if isinstance(budget, int | float) and 0 < budget <= 1:
        found["asked"] = Kept(fraction=float(budget)).name
    return found | ({"cost": {name: entry.get(name) for name in ALWAYS}} if "params" in entry else {})


def write_trials(path: Path, records: Iterable[Evaluated]) -> None:
    """Write trials.csv: a row per evaluation, the scores and then the layers as columns."""
    records = list(records)
    scores = list(dict.fromkeys(name for record in records for name in record.scores))
    metrics = list(dict.fromkeys(name for record in records for name in record.plan.cost.amounts)) or [
        *ALWAYS
    ]
    layers = list(dict.fromkeys(name for record in records for name in record.plan.choices))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["budget", "stage", "trial", "origin", "state", "duplicate_of", *metrics, *scores, *layers]
    )
    for r in records:
        ranks = r.ranks
        writer.writerow(
            [
                r.budget.name,
                r.stage,
                r.trial,
                r.origin,
                r.state,
                r.duplicate_of,
                *(r.plan.cost.of(metric) for metric in metrics),
            ]
            + [r.scores.get(name) for name in scores]
            + [ranks.get(name) for name in layers]
        )
    write_text(path, text.getvalue())
