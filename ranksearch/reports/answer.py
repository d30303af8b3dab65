"""The answer of a run: models before and after, what was promised, and three sentences about each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ranksearch.costs import COSTS, briefly, shown
from ranksearch.planning import BehaviourRecord, CriterionRecord, EstimateRecord, PlanRecord, TimeRecord
from ranksearch.reports.figures import NOTHING, estimate, figure, share, signed
from ranksearch.reports.texts import Texts, is_time

ROLES = ("test", "validation")
ALIKE = 0.05
"""Relative difference of two times below which they count as the same."""


@dataclass(frozen=True)
class Verdict:
    """Whether something is kept, in words."""

    kept: bool
    text: str


@dataclass(frozen=True)
class Answer:
    """What there is to say of a model."""

    title: str
    sentences: tuple[str, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class FigureRow:
    """A figure of the dense model and of each compressed one."""

    name: str
    dense: str
    cells: tuple[str, ...]


def answers(records: Sequence[PlanRecord], texts: Texts) -> list[Answer]:
    """An answer for each model."""
    return [
        Answer(
            texts("budget", asked=record.asked),
            tuple(_sentences(record, texts)),
            tuple(_verdicts(record, texts)),
        )
        for record in records
    ]


def role_of(record: PlanRecord) -> str | None:
    """The data that speak for a model: test data, else validation data; None where it was evaluated on neither."""
    return next((role for role in ROLES if record.scores.get(role) is not None), None)


def _sentences(record: PlanRecord, texts: Texts) -> Iterator[str]:
    yield _size(record, texts)
    yield _quality(record, texts)
    yield _time(record, texts)


def _size(record: PlanRecord, texts: Texts) -> str:
    parts = [
        texts("kept_of", share=share(cost, record.dense[name]), unit=texts.unit(name))
        for name, cost in record.cost.items()
        if not is_time(name)
    ]
    kept = texts("and").join(parts[:2])
    if (found := record.footprint) is None:
        return texts("sentence_cost", kept=kept)
    before, after = (figure(x.bytes / 1e6) for x in (found.dense, found.compressed))
    return texts("sentence_size", kept=kept, before=before, after=after)


def _quality(record: PlanRecord, texts: Texts) -> str:
    role = role_of(record)
    if role is None:
        return texts("sentence_no_quality")
    found = record.behaviour.get(role)
    if found is None or found.drop is None or found.dense is None:
        name = record.delivery.task_metric if record.delivery else texts("task_metric")
        return texts(
            "sentence_score",
            metric=name,
            role=texts.label("role", role),
            score=estimate(record.scores[role], record.scores.get(f"{role}_stderr")),
        )
    low, high = interval_of_change(found)
    return texts(
        "sentence_quality",
        count=f"{found.examples:,}",
        role=texts.label("role", role),
        metric=found.metric,
        before=estimate(found.dense, None),
        after=estimate(found.delivered, None),
        change=signed(-found.drop.mean),
        low=signed(low),
        high=signed(high),
    )


def interval_of_change(found: BehaviourRecord) -> tuple[float | None, float | None]:
    """The paired 95 % interval of delivered minus dense, as far as it is known."""
    if found.drop is None:
        return None, None
    low, high = found.drop.high, found.drop.low
    return (None if low is None else -low), (None if high is None else -high)


def _time(record: PlanRecord, texts: Texts) -> str:
    time = None if record.footprint is None else record.footprint.time
    if time is None:
        return texts("sentence_no_time")
    alike = abs(time.ratio - 1) < ALIKE or time.low <= 1 <= time.high
    key = "sentence_time_alike" if alike else "sentence_slower" if time.ratio > 1 else "sentence_faster"
    return texts(
        key,
        ratio=figure(time.ratio, 2),
        before=milliseconds(time.dense_seconds),
        after=milliseconds(time.seconds),
        conditions=conditions(time, texts),
    )


def conditions(time: TimeRecord, texts: Texts) -> str:
    """What a time holds for."""
    return texts(
        "conditions",
        runtime=f"{time.runtime} {time.version}",
        batch=time.batch,
        threads=time.threads,
        processor=time.processor,
    )


def milliseconds(value: float) -> str:
    """A time in ms, in three digits."""
    return figure(1e3 * value)


def _verdicts(record: PlanRecord, texts: Texts) -> Iterator[Verdict]:
    if (promise := record.promise) is not None:
        look = next((each for each in promise.looks if each.asked == record.asked), None)
        text = texts(
            "promise_kept" if promise.kept else "promise_broken",
            drop=figure(promise.max_drop),
            found=NOTHING if look is None else signed(-look.drop),
            bound=NOTHING if look is None or look.bound is None else figure(look.bound),
            confidence=share(promise.confidence, 1),
        )
        on_test = {None: "", True: texts("test_agrees"), False: texts("test_disagrees")}
        yield Verdict(promise.kept, text + on_test[promise.held_on_test])
    for criterion in record.criteria:
        key = "criterion_met" if criterion.passed else "criterion_missed"
        yield Verdict(criterion.passed, texts(key, asked=criterion.asked, value=_measured(criterion, texts)))


def _measured(found: CriterionRecord, texts: Texts) -> str:
    if found.measured is None:
        return texts("not_measured")
    if found.name in COSTS:
        amount = shown(found.name, round(found.measured))
        return texts("amount", amount=amount, unit=texts.unit(found.name))
    return texts("measured_on", value=figure(found.measured, 4), role=texts.label("role", found.on))


def figure_rows(records: Sequence[PlanRecord], texts: Texts) -> list[FigureRow]:
    """Models of one run side by side; rows of which nothing is known are left out."""
    dense = records[0].dense
    rows = [
        FigureRow(
            texts.unit(name),
            briefly(name, amount),
            tuple(f"{briefly(name, r.cost[name])} ({share(r.cost[name], amount)})" for r in records),
        )
        for name, amount in dense.items()
        if all(name in r.cost for r in records)
    ]
    rows += [
        FigureRow(
            f"{texts.unit(name)} ({part.asked})",
            briefly(name, amount),
            tuple(
                f"{briefly(name, own)} ({share(own, amount)})"
                for own in (r.counted(name, r.cost[name]) for r in records)
            ),
        )
        for part in [records[0].part]
        if part is not None and all(r.part == part for r in records)
        for name, amount in part.dense.items()
    ]
    rows += _footprint_rows(records, texts)
    rows += _score_rows(records, texts)
    return [row for row in rows if any(cell != NOTHING for cell in (row.dense, *row.cells))]


def _footprint_rows(records: Sequence[PlanRecord], texts: Texts) -> Iterator[FigureRow]:
    taken = [r.footprint for r in records]
    first = next((x for x in taken if x is not None), None)
    if first is None:
        return
    sizes = [None if x is None else x.compressed.bytes for x in taken]
    yield FigureRow(
        texts("row_size"), _megabytes(first.dense.bytes), tuple(_of(x, first.dense.bytes) for x in sizes)
    )
    active = [None if x is None else x.compressed.activation_bytes for x in taken]
    yield FigureRow(
        texts("row_activations"), _megabytes(first.dense.activation_bytes), tuple(map(_megabytes, active))
    )
    times = [None if x is None else x.time for x in taken]
    known = next((x for x in times if x is not None), None)
    if known is not None:
        yield FigureRow(
            texts("row_time"),
            milliseconds(known.dense_seconds),
            tuple(
                NOTHING if x is None else f"{milliseconds(x.seconds)} ({share(x.ratio, 1)})" for x in times
            ),
        )


def _score_rows(records: Sequence[PlanRecord], texts: Texts) -> Iterator[FigureRow]:
    told = next((r.delivery for r in records if r.delivery is not None), None)
    metric = texts("task_metric") if told is None else told.task_metric
    for role in ROLES:
        name = texts.label("role", role)
        known = [r.delivery.dense[role] for r in records if r.delivery and role in r.delivery.dense]
        yield FigureRow(
            f"{metric}, {name}",
            _before(known),
            tuple(estimate(r.scores.get(role), r.scores.get(f"{role}_stderr")) for r in records),
        )
        yield FigureRow(
            texts("row_change", role=name), NOTHING, tuple(_change(r.behaviour.get(role)) for r in records)
        )
    flips = [_flips(r) for r in records]
    yield FigureRow(texts("row_flips"), NOTHING, tuple(flips))
    yield FigureRow(texts("row_divergence"), "0", tuple(figure(r.scores.get("delivered")) for r in records))


def _before(known: Sequence[EstimateRecord]) -> str:
    return estimate(known[0].mean, known[0].stderr) if known else NOTHING


def _change(found: BehaviourRecord | None) -> str:
    if found is None or found.drop is None:
        return NOTHING
    low, high = interval_of_change(found)
    return f"{signed(-found.drop.mean)} ({signed(low)} … {signed(high)})"


def _flips(record: PlanRecord) -> str:
    found = record.behaviour.get(role_of(record) or "")
    if found is None or found.predictions is None:
        return NOTHING
    return f"{100 * found.predictions.flips:.2f} %"


def _megabytes(value: int | None) -> str:
    return NOTHING if value is None else figure(value / 1e6)


def _of(value: int | None, whole: int) -> str:
    return NOTHING if value is None else f"{figure(value / 1e6)} ({share(value, whole)})"
