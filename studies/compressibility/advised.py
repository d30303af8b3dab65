"""What each piece of advice brings: one network compressed with none and with each, without a search."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranksearch.cli.run import run_command
from ranksearch.costs import Kept
from ranksearch.planning import read_plan
from ranksearch.runs import RunFolder

BUDGETS = (0.3, 0.2, 0.1)
"""Of the parameters, without fine-tuning."""

ROUNDS_BUDGET, EPOCHS = 0.2, 2
"""Where rounds are compared, and the epochs that they share out."""


@dataclass(frozen=True)
class Advised:
    """A run: its name, its advice as options, its budgets."""

    name: str
    options: Mapping[str, Any]
    budgets: tuple[float, ...] = BUDGETS


@dataclass(frozen=True)
class Reached:
    """What a run delivered at a budget: accuracy on the test images with its standard error, and the divergence."""

    name: str
    budget: float
    accuracy: float
    stderr: float
    divergence: float


def runs_of(probe: Path) -> tuple[Advised, ...]:
    """The runs that are compared; `probe` is the folder of a finished probe."""
    trained = {"epochs": EPOCHS}
    return (
        Advised("none", {"epochs": 0}),
        Advised("protect-early-4=3", {"epochs": 0, "protect_early": "4=3"}),
        Advised("probe", {"epochs": 0, "probe": str(probe)}),
        Advised("rounds-1", trained | {"rounds": 1}, (ROUNDS_BUDGET,)),
        Advised("rounds-3", trained | {"rounds": 3}, (ROUNDS_BUDGET,)),
    )


def names(run: Advised) -> list[str]:
    """Of the run's budgets."""
    return [Kept.parse(budget).name for budget in run.budgets]


def compare(options: Mapping[str, Any], probe: Path, out: Path) -> list[Reached]:
    """Carry out the runs, each in a folder of its own in `out`; those that are through are only read."""
    found = []
    for run in runs_of(probe):
        folder = RunFolder(out / run.name)
        if not all((folder.compressed(name) / "plan.json").is_file() for name in names(run)):
            budgets = ",".join(names(run))
            stated = {"n_trials": 0, "refit_trials": 0, "budget": budgets, **run.options}
            place = {"out": str(folder.path), "resume": folder.config.is_file()}
            run_command(None, {**options, **stated, **place})
        for budget in run.budgets:
            scores = read_plan(folder.compressed(Kept.parse(budget).name) / "plan.json").scores
            values = [scores.get(name) for name in ("test", "test_stderr", "delivered")]
            found.append(
                Reached(run.name, budget, *(float("nan") if value is None else value for value in values))
            )
    return found


def table(network: str, found: Sequence[Reached]) -> Iterator[str]:
    """Accuracies and divergences of all runs as Markdown."""
    cells = {(x.name, x.budget): f"{x.accuracy:.2f} ± {x.stderr:.2f}, {x.divergence:.3g}" for x in found}
    plain = [name for name in dict.fromkeys(x.name for x in found) if not name.startswith("rounds")]
    rounds = [name for name in dict.fromkeys(x.name for x in found) if name.startswith("rounds")]
    yield f"## What advice brings to {network}\n"
    yield "Accuracy on the test images and divergence on held-out ones, without a search; kept of the parameters:\n"
    yield f"| advice, no fine-tuning | {' | '.join(f'{b:g}' for b in BUDGETS)} |"
    yield f"| --- |{' --- |' * len(BUDGETS)}"
    for name in plain:
        yield f"| {name} | {' | '.join(cells[name, budget] for budget in BUDGETS)} |"
    yield f"\n| {EPOCHS} epochs of fine-tuning | {ROUNDS_BUDGET:g} |"
    yield "| --- | --- |"
    for name in rounds:
        yield f"| {name} | {cells[name, ROUNDS_BUDGET]} |"
