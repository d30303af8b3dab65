"""What wide layers lose: plans of ResNet-20 from columns in place of A, as layers above 1,536 inputs have them.

    python studies/scale/columns.py --data imagefolder:DIR --weights FILE [--out columns.csv]

The layers of ResNet-20 are narrow; here those above `--wide` inputs are treated as wide, with so few columns that their
widest kernel (576 inputs) has as many inputs to a column as the widest convolutions of ResNet-50 (4,608) do.
"""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from ranksearch.calibration import moments, patches
from ranksearch.calibration import of_task as calibration
from ranksearch.compression import CompressConfig, compress, in_order
from ranksearch.costs import Budget
from ranksearch.memory import keep_freed_memory
from ranksearch.networks import threads
from ranksearch.planning import CandidateConfig, analytic, prepare
from ranksearch.tasks import Task, evaluate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for what studies share
from subject import parser, task_of

NEVER = 10**9


@contextmanager
def wide_above(wide: int, columns: int) -> Iterator[None]:
    """Layers with more inputs than `wide` have so many columns."""
    with (
        patch.object(moments, "WIDE", wide),
        patch.object(patches, "COLUMNS", columns),
        patch.object(in_order, "WIDE", wide),
        patch.object(calibration, "WIDE", wide),
        patch.object(calibration, "COLUMNS", columns),
    ):
        yield


def measure(task: Task, budgets: list[float], seed: int) -> list[dict[str, float]]:
    """Analytic plans carried out without fine-tuning."""
    started = time.monotonic()
    problem = prepare(task, config=CandidateConfig(), seed=seed)
    seconds = time.monotonic() - started
    rows = []
    for budget in budgets:
        within = Budget.of(problem.dense, budget, "params")
        plan = problem.plan(analytic(problem.tables, within))
        done = compress(task, plan, config=CompressConfig(epochs=0))
        found = evaluate(done.model, task, "test")
        rows.append(
            {
                "budget": budget,
                "prepare": round(seconds, 1),
                "divergence": round(done.delivered.mean, 4),
                "test": round(found.mean, 2) if found else float("nan"),
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> None:
    p = parser(__doc__)
    p.add_argument("--budgets", default="0.3,0.2")
    p.add_argument("--wide", type=int, default=256, help="fan-in above which a layer counts as wide")
    p.add_argument("--columns", default="128,512", help="numbers of columns to try")
    p.add_argument("--out", type=Path, default=Path("columns.csv"))
    given = p.parse_args(arguments)
    budgets = [float(b) for b in given.budgets.split(",")]
    tried = [("all of A", NEVER, 1024), *((c, given.wide, int(c)) for c in given.columns.split(","))]
    with threads(given.threads), given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["A", "budget", "prepare", "divergence", "test"])
        writer.writeheader()
        for name, wide, columns in tried:
            with wide_above(wide, columns):
                for row in measure(task_of(given, split_seed=42), budgets, given.seed):
                    writer.writerow({"A": name, **row})
                    file.flush()
                    print(name, row, flush=True)


if __name__ == "__main__":
    keep_freed_memory()
    main()
