"""Seconds and memory of each step on large networks: random weights and images, since structure and cost count.

    python studies/scale/scale.py [--models resnet18,resnet50,...] [--out results.csv]

Each network runs in a process of its own, whose peak memory is what the operating system says. Run nothing else
meanwhile.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torchvision
from torch import nn
from torch.utils.data import TensorDataset

from ranksearch.costs import Budget
from ranksearch.memory import keep_freed_memory
from ranksearch.networks import discover
from ranksearch.objectives import Scoring
from ranksearch.planning import CandidateConfig, allocation, prepare
from ranksearch.tasks import Task

MODELS = ("resnet18", "resnet50", "vgg16", "mobilenet_v2", "convnext_tiny", "vit_b_16")
BUDGETS = (0.7, 0.5, 0.3, 0.2, 0.1)
FIELDS = (
    "model",
    "parameters",
    "layers",
    "widest",
    "discover",
    "moments",
    "held-out moments",
    "candidates",
    "allocation",
    "trial",
    "analytic",
    "peak GiB",
    "kept",
)


def drawn(model: nn.Module) -> nn.Module:
    """The model with random weights in layers that start at zero, as the last one of torchvision's transformers: with
    it all outputs are alike, and nothing that is done to the layers before it shows."""
    for module in model.modules():
        if isinstance(module, nn.Linear) and not module.weight.any():
            module.reset_parameters()
    return model


def measure(name: str, images: int, trial: bool) -> dict[str, object]:
    """One network, in this process."""
    torch.manual_seed(0)
    model = drawn(getattr(torchvision.models, name)(weights=None)).eval()
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        seconds[step] = time.perf_counter() - start

    data = TensorDataset(torch.randn(2 * images, 3, 224, 224))
    task = Task(model, data, calibration_size=images, batch_size=8, val_split=0.0)
    begin = time.perf_counter()
    with timed("discover"):
        layers = discover(model, task.example)
    clock = {"last": time.perf_counter()}

    def progress(stage: str, done: int, total: int) -> None:
        if done == total:
            now = time.perf_counter()
            seconds[stage] = seconds.get(stage, 0.0) + now - clock["last"]
            clock["last"] = now

    problem = prepare(task, config=CandidateConfig(), progress=progress)
    with timed("allocation"):
        plans = {}
        for budget in BUDGETS:
            try:
                within = Budget.of(problem.dense, budget, "params")
                plans[budget] = problem.plan(allocation.analytic(problem.tables, within))
            except Exception as error:
                print(f"{name} at {budget}: {error}", file=sys.stderr)
    analytic = time.perf_counter() - begin
    if trial and plans:
        with timed("trial"):
            Scoring(problem).recalibrated(plans[min(plans, key=lambda b: abs(b - 0.5))])
    able = [layer for layer in layers if layer.reason is None]
    return {
        "model": name,
        "parameters": problem.dense.params,
        "layers": len(able),
        "widest": max(layer.fan_in for layer in able),
        **{step: round(value, 2) for step, value in seconds.items()},
        "analytic": round(analytic, 1),
        "peak GiB": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "kept": " ".join(f"{plan.cost.params / problem.dense.params:.4f}" for plan in plans.values()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--images", type=int, default=64, help="calibration images")
    parser.add_argument("--no-trial", action="store_true", help="leave the divergence trial out")
    parser.add_argument("--out", type=Path, default=Path("results.csv"))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.images, not options.no_trial)))
        return
    rows = []
    for name in options.models.split(","):
        command = [sys.executable, __file__, "--one", name, "--images", str(options.images)]
        command += ["--no-trial"] * options.no_trial
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
        with options.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    keep_freed_memory()
    main()
