"""Further plans of a finished run: tables.json → plan files, or the whole front; no model and no data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranksearch.costs import Budget, Cost
from ranksearch.decompositions import DECOMPOSITIONS
from ranksearch.errors import InputError, expected
from ranksearch.folders import TABLES
from ranksearch.planning import (
    PartRecord,
    PlanRecord,
    Tables,
    TablesRecord,
    further_budgets,
    further_plan,
    metric_in,
    read_plan,
    read_tables,
    record_of,
    write_plan,
)
from ranksearch.runs.config import load_options
from ranksearch.runs.front_files import write_whole_front
from ranksearch.runs.front_rows import FrontRow
from ranksearch.runs.options import RunOptions
from ranksearch.runs.run_folder import RunFolder


@dataclass(frozen=True)
class FurtherPlan:
    """A plan file. known: whether it was there already, for the same budget."""

    path: Path
    record: PlanRecord
    known: bool


def tables_in(path: Path) -> tuple[TablesRecord, Path]:
    """What tables.json says, of a run folder or by its own path, and the folder. Raises InputError."""
    file = path / TABLES if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        way_out = (
            "A run writes it when its search is over. `ranksearch run --resume --out DIR` goes on with one."
        )
        raise InputError(expected(str(path), f"a run folder with {TABLES}", "one without", way_out))
    return read_tables(file), file.parent


def further_options(given: Mapping[str, Any], record: TablesRecord) -> RunOptions:
    """Options of a further plan: those that were given, and the decompositions of the run."""
    known = {name: found for name, found in record.options.items() if name == "decompositions"}
    return load_options(given, under=known, under_name=TABLES)


def further_plans(
    record: TablesRecord, given: Mapping[str, Any], folder: Path, out: Path | None = None
) -> list[FurtherPlan]:
    """A plan file for each budget that the options name, in the run folder or at `out`.

    A file that is there for the same budget is kept: the run may have measured its plan, or searched for it. Raises
    InputError where one is there for something else, and BudgetError where a budget cannot be met; then nothing is
    written.
    """
    options = further_options(given, record)
    metric = options.metric if "metric" in given else None
    limits = options.limit if "limit" in given else None
    part = record.content().part
    budgets = further_budgets(Cost(**record.dense), options.budget, record.of_run, metric, limits, part)
    if out is not None and len(budgets) > 1:
        raise InputError(expected("out", "one budget for one file", f"{len(budgets)} budgets"))
    tables = _chosen_from(record, options)
    replaced = {"decompositions", *({"metric", "limit"} if metric else {"limit"} & given.keys())}
    asked = record.options | options.model_dump(mode="json", include=replaced)
    plans = []
    for budget in budgets:
        path = out or RunFolder(folder).plan(budget.name)
        if (known := _known(path, record, budget)) is None:
            found = further_plan(tables, budget, record.multiples)
            made = record_of(
                record.model,
                tables.layers,
                found.plan,
                dense=tables.dense,
                budget=budget,
                seed=record.seed,
                scores=found.scores,
                options=asked | {"budget": [budget.kept.fraction or budget.name]},
            )
            plans.append(FurtherPlan(path, made, known=False))
        else:
            plans.append(FurtherPlan(path, known, known=True))
    for plan in plans:
        if not plan.known:
            write_plan(plan.path, plan.record)
    return plans


def _chosen_from(record: TablesRecord, options: RunOptions) -> Tables:
    """The tables with the candidates of some decompositions. Raises InputError where these have none."""
    names = [DECOMPOSITIONS.resolve(name).name for name in options.decompositions]
    tables = record.content()
    there = {c.decomposition for table in tables.tables for c in table.candidates if not c.is_dense}
    if there.isdisjoint(names):
        wanted = f"some of {', '.join(sorted(there))}"
        raise InputError(expected("decompositions", wanted, ", ".join(names)))
    return tables.only(names)


def _known(path: Path, record: TablesRecord, budget: Budget) -> PlanRecord | None:
    """The plan in a file, if it is for this budget; None if there is no file. Raises InputError for another one."""
    if not path.exists():
        return None
    found = read_plan(path)
    limits = [(found.metric, found.asked), *((each.metric, each.asked) for each in found.limits)]
    same = found.model.digest == record.model.digest and found.part == PartRecord.of(budget.part)
    if same and limits == [(x.metric, x.name) for x in budget.every]:
        return found
    there = " and ".join(f"{metric} {asked}" for metric, asked in limits)
    way_out = "Name another file with `out`."
    raise InputError(expected("out", "a new file", f"{path}, a plan for {there}{found.of_part}", way_out))


def further_front(
    record: TablesRecord, given: Mapping[str, Any], folder: Path, out: Path | None = None
) -> tuple[list[FrontRow], Path, Path]:
    """The front over all budgets; its rows, its table and its picture, front.csv and front.svg in the run folder.

    Another metric than the run's has its name in theirs. out: the table; the picture lies beside it.
    """
    options = further_options(given, record)
    metric = metric_in(Cost(**record.dense), options.metric if "metric" in given else record.metric)
    if options.limit:
        raise InputError(expected("limit", "a budget to hold in addition to", "the front over all budgets"))
    if out is not None and out.suffix != ".csv":
        raise InputError(expected("out", "the name of a table, FILE.csv", str(out)))
    another = "" if metric == record.metric else re.sub(r"\W+", "-", f"-{metric}")
    table = out or folder / f"front{another}.csv"
    return write_whole_front(record, _chosen_from(record, options), metric, folder, table)


def differs(record: TablesRecord) -> str:
    """How the run itself would go about a further budget, where that is not the analytic plan alone."""
    options = record.options
    if (allocator := options.get("allocator", "knapsack")) != "knapsack":
        return f"the run chose its ranks by {allocator}"
    if options.get("n_trials"):
        return "the run searched around its analytic plans"
    return "the run compared its plans with those without the probe" if options.get("probe") else ""
