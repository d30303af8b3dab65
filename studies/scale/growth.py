"""How seconds grow with the number of layers and with their width: plain stacks of 3×3 convolutions, exponents fitted.

    python studies/scale/growth.py [--out growth.csv]

Run nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from ranksearch.costs import Budget
from ranksearch.memory import keep_freed_memory
from ranksearch.planning import CandidateConfig, allocation, prepare
from ranksearch.tasks import Task

BUDGETS = (0.7, 0.5, 0.3, 0.2, 0.1)
LAYERS = (8, 16, 32, 64)
WIDTHS = (32, 64, 128, 256, 512)
STEPS = ("moments", "held-out moments", "candidates", "allocation")


def stack(layers: int, width: int) -> nn.Module:
    """As many convolutions of one width, each with BatchNorm and ReLU, between a stem and a classifier."""
    body = [
        module
        for _ in range(layers)
        for module in (nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
    ]
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)
    )


def settled(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """In evaluation mode, with BatchNorm statistics of some images: with those it starts with, signals fade from layer
    to layer until all outputs are alike."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def measure(layers: int, width: int) -> dict[str, float]:
    """Seconds of each step for 96 calibration images of 16×16 pixels."""
    torch.manual_seed(0)
    images = torch.randn(192, 3, 16, 16)
    task = Task(
        settled(stack(layers, width), images[:32]),
        TensorDataset(images),
        calibration_size=96,
        batch_size=32,
        val_split=0.0,
    )
    seconds = dict.fromkeys(STEPS, 0.0)
    last = time.perf_counter()

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds[stage] += now - last
        last = now

    problem = prepare(task, config=CandidateConfig(), progress=progress)
    last = time.perf_counter()
    for budget in BUDGETS:
        within = Budget.of(problem.dense, budget, "params")
        allocation.analytic(problem.tables, within)
    progress("allocation", 1, 1)
    return {"layers": layers, "width": width, **seconds}


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Of the power law through the points, least squares between logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("growth.csv"))
    options = parser.parse_args()
    measure(2, 16)  # the first run pays for what torch sets up
    deep = [measure(layers, 64) for layers in LAYERS]
    wide = [measure(8, width) for width in WIDTHS]
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["layers", "width", *STEPS])
        writer.writeheader()
        writer.writerows({key: round(value, 3) for key, value in row.items()} for row in (*deep, *wide))
    for rows, size in ((deep, "layers"), (wide, "width")):
        powers = {step: exponent([row[size] for row in rows], [row[step] for row in rows]) for step in STEPS}
        print(f"{size}: " + ", ".join(f"{step} ~ {size}^{power:.2f}" for step, power in powers.items()))


if __name__ == "__main__":
    keep_freed_memory()
    main()
