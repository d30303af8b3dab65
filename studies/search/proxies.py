"""How well cheap scores rank plans of one budget: each against the accuracy after a short fine-tune.

    python studies/search/proxies.py --data imagefolder:DIR --weights FILE --out DIR

Plans are the analytic one and random ones around it, of equal budget. Each is scored by every objective, then carried
out as it would be delivered and fine-tuned twice, in two orders of the images: the rank correlation of these two
accuracies is the most that any score can reach. One line of `proxies.jsonl` per plan; a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import torch
from scipy.stats import spearmanr
from torch import nn

from ranksearch.compression.training import finetune
from ranksearch.costs import Budget
from ranksearch.files import write_text
from ranksearch.memory import keep_freed_memory
from ranksearch.networks import run, threads
from ranksearch.objectives import Scoring, make_objective
from ranksearch.planning import CandidateConfig, Choice, Problem, balanced_errors, prepare
from ranksearch.search_spaces import SEARCH_SPACES
from ranksearch.tasks import Task, divergence, evaluate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for what studies share
from subject import parser, read_rows, task_of, write_rows

SCORES = {
    "error": "sum of ε",
    "balanced": "sum of balanced errors",
    "divergence": "divergence, quick fits",
    "ordered": "divergence, quick fits in order",
    "refitted": "divergence, fitted as delivered",
    "unseen": "the same on 2,048 other images",
    "finetune": "divergence, fitted as delivered, after 60 steps",
    "before": "accuracy, fitted as delivered",
}
"""From the cheapest to the dearest, and what they are; `before` is no score, for want of labels, but tells much."""

ORDERS = (0, 1)
"""Seeds of the two fine-tunes."""

NEAR = 2.0
"""Plans count whose divergence is within this factor of the best one."""


def main(arguments: Sequence[str] | None = None) -> int:
    p = parser(__doc__)
    p.add_argument("--out", required=True, type=Path)
    p.add_argument("--budget", type=float, default=0.2, help="of the parameters")
    p.add_argument("--plans", type=int, default=32)
    p.add_argument("--steps", type=int, default=100)
    p.add_argument("--unseen", type=int, default=2048, help="images that neither moments nor scores saw")
    given = p.parse_args(arguments)
    with threads(given.threads):
        measure_all(given)
    return 0


def measure_all(given: argparse.Namespace) -> None:
    """Measure the plans that are missing, then write the table."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    task = task_of(given)
    problem = prepare(task, config=CandidateConfig(), seed=given.seed)
    path = given.out / "proxies.jsonl"
    rows = read_rows(path)
    scoring = Scoring(problem, seed=given.seed)
    for choice in plans(problem, given.budget, given.plans, given.seed)[len(rows) :]:
        started = time.monotonic()
        rows.append(measure(problem, scoring, choice, given))
        write_rows(path, rows)
        print(
            f"{len(rows)}/{given.plans} ({time.monotonic() - started:.0f} s): {rows[-1]['after']}", flush=True
        )
    write_text(given.out / "results.md", table(rows, given.steps) + "\n")


def plans(problem: Problem, budget: float, count: int, seed: int) -> list[Choice]:
    """The analytic plan, then distinct random ones of the `sensitivities` space, as far as there are any."""
    within = Budget.of(problem.dense, budget, "params")
    space = SEARCH_SPACES.get("sensitivities")(problem.tables, within)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    found = {space.analytic: None}
    for _ in range(20 * count):
        if len(found) < count:
            found[space.suggest(study.ask())] = None
    return list(found)


def measure(problem: Problem, scoring: Scoring, choice: Choice, given: argparse.Namespace) -> dict[str, Any]:
    """All scores of a plan, and its accuracy before and after the two fine-tunes."""
    task, plan = problem.task, problem.plan(choice)
    balanced = balanced_errors(problem.tables)
    scores: dict[str, float] = {
        "error": plan.error,
        "balanced": sum(float(errors[k]) for errors, k in zip(balanced, choice, strict=True)),
    }
    for name in ("divergence", "ordered", "finetune"):
        scores[name] = make_objective(name, scoring).score(plan).value
    delivered = scoring.delivered(plan)
    scores["refitted"] = delivered.divergence.mean
    scores["unseen"] = unseen_divergence(task, delivered.model, given.unseen)
    scores["before"] = accuracy(delivered.model, task)
    tuned = [
        finetune(copy.deepcopy(delivered.model), task.model, task, steps=given.steps, seed=order)
        for order in ORDERS
    ]
    return {
        "choice": list(choice),
        "params": plan.cost.params,
        "scores": scores,
        "after": [accuracy(model, task) for model in tuned],
    }


def accuracy(model: nn.Module, task: Task) -> float:
    """On the test images, per cent."""
    found = evaluate(model, task, "test")
    assert found is not None
    return found.mean


def unseen_divergence(task: Task, model: nn.Module, count: int) -> float:
    """Of outputs for the first `count` images of those for fine-tuning, which no score has seen."""
    images = torch.stack([task.train[k][0] for k in task.splits.finetune[:count]])
    wanted, found = (
        run(m, images, batch_size=task.batch_size, device=task.device) for m in (task.model, model)
    )
    return divergence(wanted, found, task.loss).mean


def table(rows: Sequence[Mapping[str, Any]], steps: int) -> str:
    """Rank correlation of each score with the accuracy after fine-tuning, mean of both fine-tunes."""
    best = min(row["scores"]["divergence"] for row in rows)
    near = [row for row in rows if row["scores"]["divergence"] <= NEAR * best]
    after = [[row["after"][k] for row in near] for k in ORDERS]
    retest = spearman(*after)
    lines = [
        f"{len(near)} plans of {len(rows)}, those whose divergence is within {NEAR:g} times the best. Accuracy after "
        f"{steps} steps: {fmean(map(fmean, after)):.2f} on average, from {min(map(min, after)):.2f} to "
        f"{max(map(max, after)):.2f}; test–retest correlation of two fine-tunes {retest:.2f}.",
        "",
        "| score | spread | Spearman with the accuracy | part of test–retest |",
        "| --- | --- | --- | --- |",
    ]
    for name, what in SCORES.items():
        scores = [row["scores"][name] for row in near]
        sign = 1 if name == "before" else -1
        found = fmean(sign * spearman(scores, each) for each in after)
        lines.append(
            f"| {what} | {min(scores):.3g} to {max(scores):.3g} | {found:.2f} | {found / retest:.2f} |"
        )
    analytic, others = fmean(near[0]["after"]), [fmean(row["after"]) for row in near[1:]]
    better = sum(each > analytic for each in others)
    lines += ["", f"The analytic plan ends at {analytic:.2f}, {better} of {len(others)} others above it."]
    return "\n".join(lines)


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation; NaN where one side is constant."""
    if len({*x}) < 2 or len({*y}) < 2:
        return float("nan")
    return float(spearmanr(x, y).statistic)


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main())
