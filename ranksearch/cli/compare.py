"""`ranksearch compare`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType

from ranksearch.cli.fitting import NOTHING, Column, Fitted
from ranksearch.cli.machine import Answer
from ranksearch.cli.next_steps import Step, print_steps
from ranksearch.cli.paths import shown
from ranksearch.cli.text import output_console, styled
from ranksearch.costs import briefly, unit_of

if TYPE_CHECKING:
    from ranksearch.reports import RunContent

Row = dict[str, Any]
"""A model as `model_summary` gives it, with `run`, the name of its run, and `dense`, what the dense model costs."""


def compare_command(runs: Sequence[Path], answer: Answer) -> None:
    """Print the delivered models of several runs under each other, and how the next page of charts is made."""
    from ranksearch.reports import read_run

    contents = [read_run(path) for path in runs]
    console = output_console()
    found = [_summary(run) for run in contents]
    answer.give(runs=found)
    console.print(comparison(found))
    if len(runs) > 1:
        paths = shlex.join(map(shown, runs))
        step = Step("with charts", f"ranksearch report {paths} --out comparison.html")
        print_steps([step], partial(console.print, soft_wrap=True))


def _summary(run: RunContent) -> dict[str, Any]:
    from ranksearch.runs import model_summary, models_summary

    records = run.records
    chosen = {id(record) for record in run.chosen}
    models = [
        model_summary(record, folder=_folder(run, record), chosen=id(record) in chosen) for record in records
    ]
    about = {"run": str(run.folder.absolute()), "name": run.name}
    return about | (models_summary(models, records) if records else {"models": []})


def _folder(run: RunContent, record: Any) -> Path | None:
    return next((run.folder / model.place for model in run.models if model.record is record), None)


def comparison(runs: Sequence[dict[str, Any]]) -> RenderableType:
    """One table: each run's dense model, where it differs from that of the run before, and its delivered ones."""
    rows, dense = [], None
    for run in (run for run in runs if run["models"]):
        own = (run["model"], run["dense"]["cost"], run["dense"]["scores"])
        if own != dense:
            rows.append(
                {"run": run["model"] or "dense", "budget": "dense", "of": run["dense"], **run["dense"]}
            )
        dense = own
        rows += [{"run": run["name"], "of": run["dense"], **model} for model in run["models"]]
    empty = [f"{run['name']}: nothing was delivered" for run in runs if not run["models"]]
    if not rows:
        return Group(*map(styled, empty))
    metrics = dict.fromkeys(name for row in rows for name in row["cost"])
    labels = dict.fromkeys(run["task_metric"] for run in runs if run.get("task_metric"))
    named = f"{next(iter(labels))},\n" if len(labels) == 1 else ""
    columns = [
        Column("run", [row["run"] for row in rows], left=True),
        Column("budget", [row["budget"] for row in rows], left=True),
        *(Column(unit_of(name), [_cost(row, name) for row in rows], 3 + k) for k, name in enumerate(metrics)),
        Column("MB", [_scaled(row.get("bytes"), 1e-6) for row in rows], 2),
        Column("ms", [_scaled(row.get("seconds"), 1e3) for row in rows], 1),
        Column("divergence", [_plain(row.get("divergence")) for row in rows], 6),
        Column(f"{named}validation", [_score(row, "validation") for row in rows], 5),
        Column(f"{named}test", [_score(row, "test") for row in rows]),
    ]
    return Group(Fitted(columns), *map(styled, empty), *map(styled, _remarks(runs)))


def _remarks(runs: Sequence[dict[str, Any]]) -> Iterator[str]:
    """What keeps figures from being compared."""
    digests = {(run["model"], str(run["dense"]["cost"])) for run in runs if run["models"]}
    if len(digests) > 1:
        yield "These are runs of different models: compare shares, not amounts."


def _cost(row: Row, metric: str) -> str:
    amount, whole = row["cost"].get(metric), row["of"]["cost"].get(metric)
    if amount is None:
        return NOTHING
    return (
        f"{briefly(metric, amount)} ({amount / whole:.1%})"
        if whole and row["budget"] != "dense"
        else briefly(metric, amount)
    )


def _scaled(value: float | None, factor: float) -> str:
    return NOTHING if value is None else f"{factor * value:.3g}"


def _plain(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.4g}"


def _score(row: Row, role: str) -> str:
    found = row["scores"].get(role)
    if found is None or found["mean"] is None:
        return NOTHING
    return (
        f"{found['mean']:.2f}" if found["stderr"] is None else f"{found['mean']:.2f} ± {found['stderr']:.2f}"
    )
