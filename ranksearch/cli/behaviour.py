"""Lines about a delivered model: its behaviour beside the dense one, a promise, criteria."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ranksearch.costs import COSTS, shown, unit_of
from ranksearch.planning import BehaviourRecord, CriterionRecord, PlanRecord


def behaviour_lines(record: PlanRecord) -> Iterator[str]:
    """What is to be said of a delivered model: its behaviour on test data, or else on validation data, whether a
    promise is kept, and every criterion."""
    for role in ("test", "validation"):
        if role in record.behaviour:
            yield f"budget {record.asked}, {role} data: {_behaviour(record.behaviour[role])}"
            break
    if record.promise is not None:
        yield promise_line(record)
    for criterion in record.criteria:
        yield criterion_line(criterion, record.asked)


def _behaviour(found: BehaviourRecord) -> str:
    parts = [f"{found.metric} {_change(found)}"]
    if (own := found.predictions) is not None:
        parts.insert(0, f"{own.flips:.2%} of predictions changed")
        parts.append(f"calibration error {own.dense_ece:.3f} before, {own.ece:.3f} after")
        if own.classes:
            worst = ", ".join(
                f"{x.name or x.number} {x.drop:.3g} points ({x.examples:,} examples)" for x in own.classes[:2]
            )
            parts.append(f"lost most: class {worst}")
    return "; ".join(parts)


def _change(found: BehaviourRecord) -> str:
    """`0.34 lower (0.05 to 0.63)`, the paired 95 % interval in the same direction."""
    if (drop := found.drop) is None:
        return "not finite"
    rises = drop.mean < 0
    low, high = (drop.low, drop.high) if not rises else (_negative(drop.high), _negative(drop.low))
    ends = " to ".join("unknown" if end is None else f"{end:.2f}" for end in (low, high))
    return f"{abs(drop.mean):.2f} {'higher' if rises else 'lower'} ({ends})"


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def promise_line(record: PlanRecord) -> str:
    """Whether a budget keeps a promised drop, by what, and what the test data say."""
    promise = record.promise
    assert promise is not None
    look = next((each for each in promise.looks if each.asked == record.asked), None)
    if look is None:  # in a file that somebody changed
        return f"a drop of at most {promise.max_drop:g}: nothing is known of budget {record.asked}"
    bound = "any amount" if look.bound is None else f"{look.bound:.3g}"
    found = f"loses {look.drop:.3g} on the validation data, with {promise.confidence:.1%} confidence at most {bound}"
    on_test = {None: "no test data", True: "the test data agree", False: "the test data do not agree"}
    if promise.kept:
        held = on_test[promise.held_on_test]
        return f"a drop of at most {promise.max_drop:g}: kept by budget {record.asked}, which {found}; {held}"
    return (
        f"a drop of at most {promise.max_drop:g}: no budget that was tried keeps it; "
        f"the nearest, budget {record.asked}, {found}"
    )


def criterion_line(found: CriterionRecord, asked: str) -> str:
    """`accept params<=54k: passed by budget 0.2, 53,944 parameters`."""
    if found.measured is None:
        value = "which could not be measured"
    elif found.name in COSTS:
        value = f"{shown(found.name, round(found.measured))} {unit_of(found.name)}"
    else:
        value = f"{found.measured:.4g} on {found.on} data"
    return f"accept {found.asked}: {'passed' if found.passed else 'failed'} by budget {asked}, {value}"


def failure(records: Sequence[PlanRecord]) -> str:
    """The one line of what is not met."""
    parts = [
        f"no budget that was tried keeps a drop of at most {record.promise.max_drop:g}, "
        f"and budget {record.asked} is nearest"
        for record in records
        if record.promise is not None and not record.promise.kept
    ]
    missed = [(each.asked, record.asked) for record in records for each in record.criteria if not each.passed]
    if missed:
        parts.append(f"not met: {', '.join(f'{figure} by budget {asked}' for figure, asked in missed)}")
    return f"{'; '.join(parts)}. What was made is delivered."
