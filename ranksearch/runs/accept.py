"""Key figures that are fixed beforehand: read and checked before a run, held against what was delivered after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from ranksearch.compression import load_compressed
from ranksearch.costs import COSTS, Kept, measure_cost
from ranksearch.errors import InputError, RankSearchError, expected
from ranksearch.objects import nearest
from ranksearch.planning import BehaviourRecord, CriterionRecord, Network
from ranksearch.runs.evaluation import Saved, rewritten
from ranksearch.runs.option_values import CRITERION
from ranksearch.runs.options import RunOptions
from ranksearch.runs.times import time_of
from ranksearch.tasks import Metric, Task, classifies, losses_of, metric_of
from ranksearch.timing import nanoseconds

DROP, FLIPS, ECE = "drop", "flips", "ece"
FIGURES = (DROP, FLIPS, ECE)
"""Key figures of the behaviour, besides the task metric."""

PERCENT = ("top1", "binary_accuracy")
"""Task metrics in per cent, of which a number up to 1 is a fraction."""

MODEL = "model"
"""Where costs are measured."""


@dataclass(frozen=True)
class Criterion:
    """A key figure and its limit: a number, or for a cost metric how much of it."""

    name: str
    relation: Literal["<=", ">="]
    asked: str
    limit: float | Kept


def parse_criteria(options: RunOptions) -> tuple[Criterion, ...]:
    """The criteria that the options name. Raises InputError for a name or a limit that makes no sense."""
    if not options.accept:
        return ()
    metric = (
        losses_of(options.loss)[0].metric_fn if options.metric_fn is None else metric_of(options.metric_fn)
    )
    own = metric.name if isinstance(metric, Metric) else getattr(metric, "__name__", type(metric).__name__)
    return tuple(_criterion(text, own) for text in options.accept)


def _criterion(text: str, own: str) -> Criterion:
    found = CRITERION.fullmatch(text)
    assert found is not None  # the options were checked
    name, relation, asked = found["name"], cast(Literal["<=", ">="], found["relation"]), found["limit"]
    if name == own:
        return Criterion(name, relation, text, _metric_limit(text, asked, percent=own in PERCENT))
    if name == DROP:
        return Criterion(name, relation, text, _number(text, asked, "a number, as in drop<=0.5"))
    if name in FIGURES:
        share = _share(asked)
        if share is None:
            raise InputError(expected("accept", f"a share, as in {name}<=0.03 or {name}<=3%", repr(text)))
        return Criterion(name, relation, text, share)
    if ":" not in name and name not in COSTS:
        known = (own, *FIGURES, *COSTS)
        near = nearest(name, known)
        way_out = f"Did you mean {near}?" if near else ""
        raise InputError(expected("accept", f"a figure among {', '.join(known)}", repr(name), way_out))
    cost = COSTS.resolve(name)
    return Criterion(cost.name, relation, text, _amount(text, asked, cost.name, cost.base))


def _metric_limit(text: str, asked: str, *, percent: bool) -> float:
    wanted = "a number, as in top1>=0.86 or top1>=86%" if percent else "a number"
    value = _number(text, asked.removesuffix("%") if percent else asked, wanted)
    return 100 * value if percent and not asked.endswith("%") and abs(value) <= 1 else value


def _number(text: str, asked: str, wanted: str) -> float:
    try:
        value = float(asked)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise InputError(expected("accept", wanted, repr(text)))
    return value


def _share(asked: str) -> float | None:
    try:
        value = float(asked.removesuffix("%")) / (100 if asked.endswith("%") else 1)
    except ValueError:
        return None
    return value if 0 <= value <= 1 else None


def _amount(text: str, asked: str, metric: str, base: str) -> Kept:
    if not base and asked.isdecimal() and int(asked) > 1:
        return Kept(amount=int(asked))
    unit = "a time, 6ms" if base else "an amount, 54k"
    try:
        kept = Kept.parse(asked)
    except RankSearchError:
        kept = None
    if kept is None or (kept.amount is not None and kept.base != base):
        wanted = f"for {metric} {unit}, or a fraction of the dense model's, 0.5"
        raise InputError(expected("accept", wanted, repr(text)))
    return kept


def check_measurable(criteria: Sequence[Criterion], task: Task) -> None:
    """Raise InputError where the data or the task do not have what some criteria are about."""
    about = [each for each in criteria if not isinstance(each.limit, Kept)]
    if about and not any(
        (first := task.first(role)) is not None and first[1] is not None for role in ("validation", "test")
    ):
        raise InputError(
            expected(
                "accept", "labelled test or validation data to measure it on", f"none for {about[0].asked}"
            )
        )
    for each in about:
        if each.name in (FLIPS, ECE) and not classifies(task):
            raise InputError(expected("accept", "figures that the task has", f"{each.asked} without classes"))


def judge(
    saved: Saved, criteria: Sequence[Criterion], task: Task, network: Network, options: RunOptions
) -> Saved:
    """A delivered model held against the criteria; its record says what was measured."""
    if not criteria and not saved.record.criteria:
        return saved
    found = tuple(_judged(each, saved, task, network, options) for each in criteria)
    return rewritten(saved, {"criteria": found})


def _judged(
    criterion: Criterion, saved: Saved, task: Task, network: Network, options: RunOptions
) -> CriterionRecord:
    record = saved.record
    value: float | None = None
    if isinstance(criterion.limit, Kept):
        measured, dense = _cost(criterion.name, saved, task, network, options)
        limit, value, on = float(criterion.limit.limit(dense)), float(measured), MODEL
    else:
        on = "test" if "test" in record.behaviour else "validation"
        limit = criterion.limit
        if (found := record.behaviour.get(on)) is not None:
            value = _figure(criterion.name, found)
    passed = value is not None and (value <= limit if criterion.relation == "<=" else value >= limit)
    return CriterionRecord(
        name=criterion.name,
        relation=criterion.relation,
        asked=criterion.asked,
        limit=limit,
        measured=value,
        on=on,
        passed=passed,
    )


def _figure(name: str, found: BehaviourRecord) -> float | None:
    """A figure of the behaviour; None where it could not be measured."""
    if name == DROP:
        return None if found.drop is None else found.drop.mean
    if name in FIGURES:
        predictions = found.predictions
        return None if predictions is None else {FLIPS: predictions.flips, ECE: predictions.ece}[name]
    return found.delivered


def _cost(name: str, saved: Saved, task: Task, network: Network, options: RunOptions) -> tuple[int, int]:
    """What the delivered and the dense model cost in a metric."""
    record = saved.record
    if name in record.cost:
        return record.cost[name], record.dense[name]
    if COSTS.get(name).measured:
        ratio, seconds = time_of(record, task, network.layers, options, network.timer)
        return nanoseconds(ratio.median * seconds), nanoseconds(seconds)
    model = load_compressed(saved.folder, record, task.model).to(task.device)
    return measure_cost(model, task.example, (name,)).of(name), measure_cost(
        task.model, task.example, (name,)
    ).of(name)
