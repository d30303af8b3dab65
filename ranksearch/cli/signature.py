"""The options model as a typer signature: one declaration for the command line and for TOML files."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, cast

import typer
from rich.markup import escape

from ranksearch.cli.gathering import written_out
from ranksearch.registry import Registry
from ranksearch.runs import MAIN, MAIN_PANEL, ProbeOptions, RunOptions
from ranksearch.visible import visible

FIELDS = {**ProbeOptions.model_fields, **RunOptions.model_fields}

SHORT = {
    "model": "-m",
    "data": "-d",
    "weights": "-w",
    "budget": "-b",
    "out": "-o",
    "quiet": "-q",
    "verbose": "-v",
}
"""One-letter forms of options that are typed often."""

REPEATABLE = ("ignore", "budget", "limit", "decompositions", "rank_multiple", "accept", "export", "track")
"""Options whose values add up where they are given several times; of others the last one counts."""


def with_options(
    function: Callable[..., None], names: Sequence[str], *, shown: dict[str, str] | None = None
) -> Callable[..., None]:
    """`function(…, given)` as a command that takes the named options; `given` holds those that were given.

    Values stay strings: the options model parses them, as it does those of a file. A switch can be turned off too,
    since a file or a plan may have turned it on. `shown` overrides what the help says about defaults. Options that most
    people need come first.
    """
    own = [p for p in inspect.signature(function, eval_str=True).parameters.values() if p.name != "given"]

    def command(**arguments: Any) -> None:
        given = {name: written_out(name, arguments.pop(name)) for name in names}
        function(**arguments, given={name: value for name, value in given.items() if value not in (None, [])})

    ordered = sorted(names, key=lambda name: MAIN.index(name) if name in MAIN else len(MAIN))
    added = [_parameter(name, (shown or {}).get(name)) for name in ordered]
    # An option of the function's own comes last: panels of the help are in order of first appearance.
    arguments = [p for p in own if p.default is p.empty]
    parameters = [*arguments, *added, *(p for p in own if p.default is not p.empty)]
    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in parameters]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    command.__name__ = function.__name__
    command.__doc__ = function.__doc__
    return command


def _parameter(name: str, shown: str | None) -> inspect.Parameter:
    field = FIELDS[name]
    extra = cast(dict[str, Any], field.json_schema_extra)
    flag = f"--{name.replace('_', '-')}"
    is_switch = field.annotation is bool
    kind: Any = bool | None if is_switch else list[str] | None if name in REPEATABLE else str | None
    default = "" if is_switch else shown or extra["shown"] or _text(field.default)
    declared = typer.Option(
        f"{flag}/--no-{flag.removeprefix('--')}" if is_switch else flag,
        *([SHORT[name]] if name in SHORT else []),
        help=help_text(field.description or "", extra["choices"], default),
        metavar=escape(extra["metavar"]),
        rich_help_panel=MAIN_PANEL if name in MAIN else extra["panel"],
        autocompletion=_completions(name, extra["choices"]),
        show_default=False,
    )
    annotation = Annotated[kind, declared]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


STARTS = {
    "model": ("digits", "torchvision:", "timm:", "smp:", "transformers:", "lightning:"),
    "data": ("digits", "imagefolder:", "torchvision:", "text:", "jsonl:"),
}
"""How values begin, of options that are not chosen from a registry."""


def _completions(name: str, choices: Registry[Any] | None) -> Callable[[str], list[str]] | None:
    """What a shell offers for an option's value: names of a registry, the last of several after a comma."""
    known = STARTS.get(name, tuple(choices or ()))
    if not known:
        return None

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{value}" for value in known if value.startswith(last)]

    return complete


def option_of(name: str) -> Any:
    """The option of a field that takes a text, for a command that has it beside options of its own."""
    field = FIELDS[name]
    extra = cast(dict[str, Any], field.json_schema_extra)
    return typer.Option(
        f"--{name.replace('_', '-')}",
        help=help_text(field.description or "", default=extra["shown"] or _text(field.default)),
        metavar=escape(extra["metavar"]),
        show_default=False,
    )


def help_text(text: str, choices: Registry[Any] | None = None, default: str = "") -> str:
    """The help of an option: what it means, what it is chosen from, and its default, in rich's markup."""
    found = escape(visible(" ".join(_described(text, choices).split())))
    return f"{found} [dim]\\[{escape(default)}][/dim]" if default else found


def _described(text: str, choices: Registry[Any] | None) -> str:
    """What an option means, and what it is chosen from."""
    if choices is None:
        return text
    known = ", ".join(f"{name} ({choices.summary(name)})" for name in choices)
    return f"{text} {known}; or your own, package.module:OBJECT or file.py:OBJECT."


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(str(v[1]) if isinstance(v, tuple) else str(v) for v in value)
    return "" if value is None else str(value)
