"""What a run found, as files: front.json (every plan, merged) and trials.csv (every evaluation)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, FiniteFloat, ValidationError

from ranksearch.costs import Cost, Metric
from ranksearch.errors import InputError, expected
from ranksearch.files import write_text
from ranksearch.objectives import LADDER, SCORES
from ranksearch.searching.front import Evaluated, State, merged, pareto_front
from ranksearch.searching.rank_correlation import rank_correlations
from ranksearch.searching.stages import SearchResult


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlanEntry(_Record):
    """One plan that was evaluated for one budget; `ranks` says by layer what the plan makes of it."""

    budget: float
    origin: str
    state: State
    params: int
    flops: int
    scores: dict[str, FiniteFloat | None]
    """All lower is better and in units of the loss; null where infinite."""
    on_front: bool
    chosen: bool
    ranks: dict[str, str]


class CorrelationRecord(_Record):
    """Spearman's rank correlation of two scores over the plans of one budget that have both; null if undefined."""

    budget: float
    cheap: str
    dear: str
    plans: int
    correlation: FiniteFloat | None


class FrontRecord(_Record):
    """What front.json holds: plans by budget, in the order in which they were first evaluated."""

    version: Literal[1]
    model: str | None
    metric: Metric
    score: str
    """The score that the front is a front of."""
    dense_params: int
    dense_flops: int
    weights: dict[str, FiniteFloat] = {}
    """By layer, what its errors were multiplied by in the allocation; empty where none were."""
    plans: tuple[PlanEntry, ...]
    validity: tuple[CorrelationRecord, ...] = ()
    """How far each score ranks plans as the next dearer one does, by budget."""


def front_record(
    results: Sequence[SearchResult],
    *,
    model: str | None,
    metric: Metric,
    dense: Cost,
    weights: Mapping[str, float] | None = None,
) -> FrontRecord:
    """Plans of all budgets. The front is that of the score that most plans were given, the dearest of several; of the
    summed ε where nothing was run."""
    plans = merged(record for result in results for record in result.records)
    given = {name: sum(name in plan.scores for plan in plans) for name in LADDER if name != "error"}
    score = max(reversed(given), key=given.__getitem__) if any(given.values()) else "error"
    front = {(p.budget, p.plan.key) for p in pareto_front(plans, metric, score)}
    chosen = {(result.budget, result.plan.key) for result in results}
    return FrontRecord(
        version=1,
        model=model,
        metric=metric,
        score=score,
        dense_params=dense.params,
        dense_flops=dense.flops,
        weights=dict(weights or {}),
        plans=tuple(
            PlanEntry(
                budget=p.budget,
                origin=p.origin,
                state=p.state,
                params=p.plan.cost.params,
                flops=p.plan.cost.flops,
                scores={name: value if isfinite(value) else None for name, value in p.scores.items()},
                on_front=(p.budget, p.plan.key) in front,
                chosen=(p.budget, p.plan.key) in chosen,
                ranks=p.ranks,
            )
            for p in plans
        ),
        validity=tuple(CorrelationRecord(**vars(found)) for found in rank_correlations(plans)),
    )


def describe_correlation(found: CorrelationRecord) -> str:
    """`budget 0.2: ε ranks 42 plans as divergence does with a Spearman correlation of 0.93`."""
    cheap, dear = SCORES[found.cheap], SCORES[found.dear]
    if found.correlation is None:
        plans = f"{found.plans} plans with {cheap} and {dear}"
        return f"budget {found.budget:g}: {plans}: too few, or too alike, to compare the two"
    return (
        f"budget {found.budget:g}: {cheap} ranks {found.plans} plans as {dear} does "
        f"with a Spearman correlation of {found.correlation:.2f}"
    )


def write_front(path: Path, record: FrontRecord) -> None:
    """Write front.json."""
    write_text(path, json.dumps(record.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")


def read_front(path: Path) -> FrontRecord:
    """Read front.json. Raises InputError."""
    try:
        return FrontRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(expected(str(path), "a front that can be read", str(error))) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            expected(str(path), "a front of this version of ranksearch", f"{where}: {first['msg']}")
        ) from error


def write_trials(path: Path, records: Iterable[Evaluated]) -> None:
    """Write trials.csv: a row per evaluation, the scores and then the layers as columns."""
    records = list(records)
    scores = list(dict.fromkeys(name for record in records for name in record.scores))
    layers = list(dict.fromkeys(name for record in records for name in record.plan.choices))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["budget", "stage", "trial", "origin", "state", "duplicate_of", "params", "flops", *scores, *layers]
    )
    for r in records:
        ranks = r.ranks
        writer.writerow(
            [
                r.budget,
                r.stage,
                r.trial,
                r.origin,
                r.state,
                r.duplicate_of,
                r.plan.cost.params,
                r.plan.cost.flops,
            ]
            + [r.scores.get(name) for name in scores]
            + [ranks.get(name) for name in layers]
        )
    write_text(path, text.getvalue())
