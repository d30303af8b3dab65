"""Fine-tuning of a factorised network: what helps within few steps, one change at a time.

    python studies/finetune/ablation.py --data imagefolder:DIR --weights FILE --out DIR [--epochs 5 --only default,…]

Starts from the analytic plan as it is delivered without fine-tuning. One line of `ablation.jsonl` per variant; a
run that was stopped goes on, and one with other steps, budgets or variants adds to it.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ranksearch.compression import CompressConfig, compress
from ranksearch.compression.training import (
    MATCHING,
    FinetuneConfig,
    block_names,
    finetune,
    follow,
    steps_per_epoch,
)
from ranksearch.costs import Budget, unit_of
from ranksearch.files import write_text
from ranksearch.memory import keep_freed_memory
from ranksearch.networks import run, threads
from ranksearch.planning import CandidateConfig, analytic, prepare
from ranksearch.tasks import Estimate, Role, Task, divergence, evaluate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for what studies share
from subject import parser, read_rows, task_of, write_rows

Row = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """One way to fine-tune. prepare: what is done to the model before, in place; average: decay of the weights'
    moving average that is delivered in place of the last weights, 0 for none; matched: epochs of feature matching
    that come before; followed: whether it is left to held-out divergence how far the training is followed.
    """

    config: FinetuneConfig = field(default_factory=FinetuneConfig)
    prepare: Callable[[nn.Module], None] = lambda model: None
    average: float = 0.0
    matched: int = 0
    followed: bool = False


class _FrozenNorm(nn.BatchNorm2d):
    """Keeps its statistics in training."""

    def train(self, mode: bool = True) -> _FrozenNorm:
        return super().train(False)


def freeze_norms(model: nn.Module) -> None:
    """Statistics stay as they were re-estimated; scales and shifts are trained."""
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = _FrozenNorm


def unbalance(model: nn.Module) -> None:
    """Move the norms of the factors of each chain into its last one; the kernel stays."""
    for chain in model.modules():
        factors = list(chain.children()) if isinstance(chain, nn.Sequential) else []
        if len(factors) > 1 and all(isinstance(f, nn.Conv2d | nn.Linear) for f in factors):
            with torch.no_grad():
                for factor in factors[:-1]:
                    norm = factor.weight.norm()
                    factor.weight /= norm
                    factors[-1].weight *= norm


DEFAULT = FinetuneConfig()
VARIANTS: Mapping[str, Variant] = {
    "default": Variant(),
    "rate 2.5e-4": Variant(replace(DEFAULT, lr=2.5e-4)),
    "rate 1e-3": Variant(replace(DEFAULT, lr=1e-3)),
    "rate 2e-3": Variant(replace(DEFAULT, lr=2e-3)),
    "temperature 1": Variant(replace(DEFAULT, temperature=1.0)),
    "temperature 2": Variant(replace(DEFAULT, temperature=2.0)),
    "temperature 8": Variant(replace(DEFAULT, temperature=8.0)),
    "labels 0.3": Variant(replace(DEFAULT, label_weight=0.3)),
    "features 1": Variant(replace(DEFAULT, feature_weight=1.0)),
    "features 3": Variant(replace(DEFAULT, feature_weight=3.0)),
    "augmented": Variant(replace(DEFAULT, augment=True)),
    "augmented at 1e-3": Variant(replace(DEFAULT, augment=True, lr=1e-3)),
    "augmented at 2e-3": Variant(replace(DEFAULT, augment=True, lr=2e-3)),
    "augmented at 1e-3 with features 1": Variant(replace(DEFAULT, augment=True, lr=1e-3, feature_weight=1.0)),
    "matched first then augmented at 1e-3": Variant(replace(DEFAULT, augment=True, lr=1e-3), matched=60),
    "norms frozen": Variant(prepare=freeze_norms),
    "averaged 0.98": Variant(average=0.98),
    "matched first": Variant(matched=30),
    "followed": Variant(followed=True),
    "augmented at 1e-3 and followed": Variant(replace(DEFAULT, augment=True, lr=1e-3), followed=True),
    "factors unbalanced": Variant(prepare=unbalance),
}


def main(arguments: Sequence[str] | None = None) -> int:
    p = parser(__doc__)
    p.add_argument("--out", required=True, type=Path)
    p.add_argument("--budget", type=float, default=0.2)
    p.add_argument("--metric", choices=("params", "flops"), default="params")
    p.add_argument("--steps", type=int, default=200)
    p.add_argument("--epochs", type=int, help="in place of --steps")
    p.add_argument(
        "--only", type=lambda text: text.split(","), default=list(VARIANTS), help="; ".join(VARIANTS)
    )
    given = p.parse_args(arguments)
    if unknown := set(given.only) - set(VARIANTS):
        p.error(f"--only: expected {', '.join(VARIANTS)}, got {', '.join(sorted(unknown))}")
    with threads(given.threads):
        measure_all(given)
    return 0


def measure_all(given: argparse.Namespace) -> None:
    """Measure the variants that are missing, then write the tables."""
    task = task_of(given, split_seed=42)
    path = given.out / "ablation.jsonl"
    rows: list[Row] = read_rows(path)
    steps = given.epochs * steps_per_epoch(task) if given.epochs else given.steps
    setup = {"budget": given.budget, "metric": given.metric, "seed": given.seed}
    todo = [("none", 0), *((name, steps) for name in given.only)]
    done = [(row["variant"], row["steps"]) for row in rows if setup.items() <= row.items()]
    todo = [each for each in todo if each not in done]
    if todo:
        model, blocks = delivered(task, given)
    for name, count in todo:
        started = time.monotonic()
        tuned = train(task, model, blocks, VARIANTS[name], count, given.seed) if count else model
        found = {**setup, "variant": name, "steps": count, **scores(tuned, task)}
        rows.append({**found, "seconds": round(time.monotonic() - started, 1)})
        write_rows(path, rows)
        print(rows[-1], flush=True)
    write_text(given.out / "results.md", tables(rows) + "\n")


def delivered(task: Task, given: argparse.Namespace) -> tuple[nn.Module, tuple[str, ...]]:
    """The analytic plan carried out, and the names of the blocks for features."""
    problem = prepare(task, config=CandidateConfig(), seed=given.seed)
    within = Budget.of(problem.dense, given.budget, given.metric)
    plan = problem.plan(analytic(problem.tables, within))
    layers = [name for name, candidate in plan.choices.items() if not candidate.is_dense]
    model = compress(task, plan, config=CompressConfig(seed=given.seed, epochs=0)).model
    return model, block_names(task.model, layers)


def train(
    task: Task, model: nn.Module, blocks: Sequence[str], variant: Variant, steps: int, seed: int
) -> nn.Module:
    """A copy of the model, fine-tuned."""
    tuned = copy.deepcopy(model)
    if variant.matched:
        role: Role = "moments"
        count = variant.matched * steps_per_epoch(task, role)
        finetune(tuned, task.model, task, steps=count, seed=seed, config=MATCHING, role=role, blocks=blocks)
    variant.prepare(tuned)
    average = AveragedModel(tuned, multi_avg_fn=get_ema_multi_avg_fn(variant.average), use_buffers=True)

    def on_step(step: int, loss: float) -> None:
        if variant.average:
            average.update_parameters(tuned)

    finetune(
        tuned, task.model, task, steps=steps, seed=seed, config=variant.config, blocks=blocks, on_step=on_step
    )
    if variant.followed:
        return follow(model, tuned, lambda each: held_out_divergence(each, task)).model
    return average.module.eval() if variant.average else tuned


def held_out_divergence(model: nn.Module, task: Task) -> Estimate:
    """From the dense model."""
    held_out = task.inputs("divergence")
    outputs = [run(m, held_out, batch_size=task.batch_size, device=task.device) for m in (task.model, model)]
    return divergence(*outputs, task.loss)


def scores(model: nn.Module, task: Task) -> dict[str, float | None]:
    """Held-out divergence, validation and test accuracy in per cent."""
    found: dict[str, float | None] = {"divergence": held_out_divergence(model, task).mean}
    for role in ("validation", "test"):
        estimate = evaluate(model, task, role)
        found[role] = None if estimate is None else estimate.mean
    return found


def tables(rows: Sequence[Row]) -> str:
    """One table for each budget, metric, seed and number of steps, the best on validation first."""
    parts = []
    kinds = dict.fromkeys((r["budget"], r["metric"], r["seed"], r["steps"]) for r in rows if r["steps"])
    for budget, metric, seed, steps in kinds:
        of_plan = [r for r in rows if (r["budget"], r["metric"], r["seed"]) == (budget, metric, seed)]
        own = [r for r in of_plan if r["steps"] == steps]
        own.sort(key=lambda r: -(r["validation"] or 0))
        lines = [
            f"### {budget:g} of the {unit_of(metric)}, {steps} steps, seed {seed}",
            "",
            "| variant | divergence | validation | test | s |",
            "| --- | --- | --- | --- | --- |",
        ]
        for r in [*own, *(r for r in of_plan if not r["steps"])]:
            shown = [f"{x:.2f}" if x is not None else "–" for x in (r["validation"], r["test"])]
            name = r["variant"] if r["steps"] else "before"
            lines.append(f"| {name} | {r['divergence']:.4f} | {' | '.join(shown)} | {r['seconds']:.0f} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


if __name__ == "__main__":
    keep_freed_memory()
    sys.exit(main())
