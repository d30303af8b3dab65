"""What each stage of a search adds, after the same full fine-tune: analytic plan, trials, short fine-tunes.

    python studies/search/stages.py --data imagefolder:DIR --weights FILE --out DIR

For every seed, which decides the calibration images, the trials and the order of fine-tuning, and every budget: the
analytic plan, the one that a search of `--n-trials` ends at, and the one after its fine-tune stage, each carried out
and fine-tuned as `ranksearch run` would. One line of `stages.jsonl` per plan; a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import t as student

from ranksearch.compression import CompressConfig, compress
from ranksearch.files import write_text
from ranksearch.memory import keep_freed_memory
from ranksearch.networks import threads
from ranksearch.planning import CandidateConfig, Plan, Problem, prepare
from ranksearch.searching import SearchSettings, search
from ranksearch.tasks import evaluate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for what studies share
from subject import parser, read_rows, task_of, write_rows

Row = dict[str, Any]

STAGES = {"analytic": "analytic plan", "search": "+ search", "finetune": "+ fine-tune stage"}
"""In the order in which a run goes through them."""


def main(arguments: Sequence[str] | None = None) -> int:
    p = parser(__doc__)
    p.add_argument("--out", required=True, type=Path)
    p.add_argument("--budgets", type=lambda text: [float(x) for x in text.split(",")], default=[0.2, 0.1])
    p.add_argument("--seeds", type=lambda text: [int(x) for x in text.split(",")], default=[0, 1, 2])
    p.add_argument("--n-trials", type=int, default=40)
    p.add_argument("--finetune-trials", type=int, default=4)
    p.add_argument("--epochs", type=int, default=2, help="of the fine-tune of every plan")
    given = p.parse_args(arguments)
    with threads(given.threads):
        measure_all(given)
    return 0


def measure_all(given: argparse.Namespace) -> None:
    """Measure what is missing, seed by seed, then write the tables."""
    path = given.out / "stages.jsonl"
    rows: list[Row] = read_rows(path)
    for seed in given.seeds:
        wanted = [(budget, stage) for budget in given.budgets for stage in STAGES]
        done = {(row["budget"], row["stage"]) for row in rows if row["seed"] == seed}
        if done.issuperset(wanted):
            continue
        given.seed = seed
        problem = prepare(task_of(given), config=CandidateConfig(), seed=seed)
        for budget, stage in wanted:
            if (budget, stage) not in done:
                rows.append(measure(problem, budget, stage, rows, given))
                write_rows(path, rows)
                print(rows[-1], flush=True)
    write_text(given.out / "stages.md", "\n".join(tables(rows)) + "\n")


def measure(
    problem: Problem, budget: float, stage: str, rows: Sequence[Row], given: argparse.Namespace
) -> Row:
    """The plan of a stage and what it delivers; a plan that an earlier stage delivered is not delivered again."""
    started = time.monotonic()
    settings = SearchSettings(
        budgets=(budget,),
        n_trials=0 if stage == "analytic" else given.n_trials,
        finetune_trials=given.finetune_trials if stage == "finetune" else 0,
        seed=given.seed,
        storage=str(given.out / f"study-{given.seed}.jsonl"),
    )
    plan = search(problem, settings)[0].plan
    found = {"seed": given.seed, "budget": budget, "stage": stage, "plan": plan.ranks}
    searched = {"search_seconds": round(time.monotonic() - started, 1)}
    for row in rows:
        if (row["seed"], row["budget"], row["plan"]) == (given.seed, budget, found["plan"]):
            return {**row, **found, **searched, "seconds": searched["search_seconds"]}
    return {
        **found,
        **searched,
        **deliver(problem, plan, given),
        "seconds": round(time.monotonic() - started, 1),
    }


def deliver(problem: Problem, plan: Plan, given: argparse.Namespace) -> Row:
    """Divergences before and after fine-tuning, and the accuracy on the test images after it."""
    config = CompressConfig(epochs=given.epochs, seed=given.seed)
    compressed = compress(problem.task, plan, config=config)
    test = evaluate(compressed.model, problem.task, "test")
    assert test is not None
    return {
        "factorised": compressed.factorised.mean,
        "delivered": compressed.delivered.mean,
        "test": test.mean,
    }


def tables(rows: Sequence[Row]) -> Iterator[str]:
    """Accuracy by stage and seed, and the gain over the analytic plan with its 95 % interval over seeds."""
    for budget in dict.fromkeys(row["budget"] for row in rows):
        test = {
            stage: {row["seed"]: row for row in rows if (row["budget"], row["stage"]) == (budget, stage)}
            for stage in STAGES
        }
        seeds = sorted(set.intersection(*(set(found) for found in test.values())))
        yield f"### {budget:g} of the parameters\n"
        yield f"| plan | {' | '.join(f'seed {seed}' for seed in seeds)} | mean | gain | divergence before, after |"
        yield f"| --- |{' --- |' * (len(seeds) + 3)}"
        for stage, what in STAGES.items():
            own = [test[stage][seed] for seed in seeds]
            gains = [row["test"] - test["analytic"][row["seed"]]["test"] for row in own]
            gain = "" if stage == "analytic" else interval(gains)
            before, after = (fmean(row[key] for row in own) for key in ("factorised", "delivered"))
            cells = [*(f"{row['test']:.2f}" for row in own), f"{fmean(row['test'] for row in own):.2f}", gain]
            yield f"| {what} | {' | '.join(cells)} | {before:.3f}, {after:.3f} |"
        yield ""


def interval(values: Sequence[float]) -> str:
    """Mean and half-width of its 95 % interval by Student's t."""
    if len(values) < 2:
        return f"{values[0]:+.2f}"
    half = student.ppf(0.975, len(values) - 1) * stdev(values) / len(values) ** 0.5
    return f"{fmean(values):+.2f} ± {half:.2f}"


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main())
