"""Values of options: what people write, read and checked; free of torch, as the options are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

from ranksearch.costs import Kept
from ranksearch.errors import InputError
from ranksearch.objects import nearest
from ranksearch.redaction import conceal
from ranksearch.registry import Registry


def listed(value: Any) -> list[Any]:
    """`"a,b"` → ["a", "b"]; a single value → [value]; ["a,b", "c"], an option given twice → ["a", "b", "c"]."""
    if isinstance(value, list | tuple):
        return [part for item in value for part in listed(item)]
    return [part for p in value.split(",") if (part := p.strip())] if isinstance(value, str) else [value]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(values))


def _numbers(value: Any) -> Any:
    """`224` → [224], `3x224x224` or `3,224,224` → [3, 224, 224]."""
    if isinstance(value, str):
        return [part for part in re.split(r"[,x×\s]+", value.strip()) if part]
    return value if isinstance(value, list | tuple) else [value]


def _formats(value: Any) -> list[Any]:
    """As `listed`, with `none` for an empty list."""
    found = listed(value)
    return [] if found == ["none"] else found


def _patterns(value: Any) -> Any:
    """`8` or `["8", "layer1.*=4"]` → [("*", 8), ("layer1.*", 4)]."""
    pairs = []
    for item in value if isinstance(value, list | tuple) else [value]:
        if isinstance(item, list | tuple):
            pairs.append(item)
        else:
            pattern, _, number = str(item).rpartition("=")
            pairs.append((pattern or "*", number))
    return pairs


def _protection(value: Any) -> Any:
    """`4` → (4, None), `"4=3"` → (4, 3)."""
    if isinstance(value, list | tuple):
        return value
    count, weighed, weight = str(value).partition("=")
    return count, weight if weighed else None


def _kept(value: Any) -> Kept:
    try:
        return Kept.parse(value)
    except InputError as error:
        # pydantic collects what is wrong with every option, and asks for what was wanted alone.
        wanted, _, got = str(error).removeprefix("budget: expected ").partition(", got ")
        way_out = got.partition(". ")[2].rstrip("?")
        raise ValueError(f"{wanted} ({way_out[0].lower()}{way_out[1:]}?)" if way_out else wanted) from error


def _limits(value: Any) -> Any:
    """`["flops=0.5", "params=54k"]` → [("flops", "0.5"), ("params", "54k")]."""
    pairs = []
    for item in value if isinstance(value, list | tuple) else [value]:
        pairs.append(item if isinstance(item, list | tuple) else str(item).rpartition("=")[::2])
    return pairs


CRITERION = re.compile(r"\s*(?P<name>[^<>=]+?)\s*(?P<relation><=|>=)\s*(?P<limit>[^<>=\s]+)\s*")
"""A key figure, how it is to stand to a limit, and the limit."""


def _criteria(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str) or CRITERION.fullmatch(value) is None:
            raise ValueError(f"a figure, <= or >=, and a limit, as in params<=54k (not {value!r})")
    return _distinct(values)


Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Names = Annotated[tuple[str, ...], BeforeValidator(listed), AfterValidator(_distinct)]
Formats = Annotated[tuple[str, ...], BeforeValidator(_formats), AfterValidator(_distinct)]
Criteria = Annotated[tuple[str, ...], BeforeValidator(listed), AfterValidator(_criteria)]
Size = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_numbers)]
PerChannel = Annotated[tuple[Number, ...], BeforeValidator(_numbers)]
Asked = Annotated[Kept, BeforeValidator(_kept), PlainSerializer(lambda kept: kept.fraction or kept.name)]
Budgets = Annotated[tuple[Asked, ...], BeforeValidator(listed), AfterValidator(_distinct)]
LimitList = Annotated[
    tuple[tuple[str, Asked], ...],
    BeforeValidator(_limits),
    PlainSerializer(lambda pairs: [f"{metric}={kept.name}" for metric, kept in pairs]),
]
Multiples = Annotated[
    tuple[tuple[str, Annotated[int, Field(ge=1)] | Literal["auto"]], ...],
    BeforeValidator(_patterns),
    PlainSerializer(lambda pairs: [f"{pattern}={number}" for pattern, number in pairs]),
]

Location = Annotated[str, PlainSerializer(conceal)]

Protection = Annotated[
    tuple[Annotated[int, Field(ge=1)], Annotated[float, Field(gt=0, allow_inf_nan=False)] | None],
    BeforeValidator(_protection),
    PlainSerializer(lambda pair: f"{pair[0]}" if pair[1] is None else f"{pair[0]}={pair[1]!r}"),
]


RECIPES: Mapping[str, Mapping[str, Any]] = {"thorough": {"epochs": 30, "lr": 1e-3, "augment": True}}
"""What a recipe of fine-tuning stands for."""


def as_recipe(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options by field name, with those that their recipe stands for where they do not say otherwise."""
    return {**RECIPES.get(str(values.get("recipe")), {}), **values}


def check_names(value: str | tuple[str, ...] | None, known: Registry[Any]) -> None:
    """Raise ValueError for the first name that stands for nothing; what a file or package defines is not looked at."""
    for name in listed(value or ()):
        if not known.knows(name):
            near = nearest(name, known.names())
            meant = f" (did you mean {near}?)" if near else ""
            raise ValueError(f"{' or '.join(known.names())}{meant}")


def option(
    panel: str,
    default: Any,
    metavar: str = "",
    shown: str = "",
    choices: Registry[Any] | None = None,
    **bounds: Any,
) -> Any:
    """A field of a panel of the help.

    default: the value, or a function that gives it when options are made. shown: what that comes to, where the value
    does not say so. choices: what it is chosen from by name.
    """
    extra: Any = {"panel": panel, "metavar": metavar, "shown": shown, "choices": choices}
    if callable(default):
        return Field(default_factory=default, json_schema_extra=extra, **bounds)
    return Field(default=default, json_schema_extra=extra, **bounds)
