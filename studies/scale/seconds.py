"""CPU seconds and peak memory of moments and candidates: two trained ResNets, VGG-16, a layer of 8,000 outputs.

    python studies/scale/seconds.py [--data imagefolder:DIR --resnet20 FILE --resnet50 FILE] [--out seconds.csv]

CPU seconds, not elapsed ones, so that other work on the machine matters less; on one thread both are the same when it
is idle. Nothing is cached. Each case runs in a process of its own. Cases whose files are not given are skipped.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from ranksearch.memory import keep_freed_memory
from ranksearch.networks import threads
from ranksearch.planning import CandidateConfig, prepare
from ranksearch.runs import RunOptions
from ranksearch.runs.tasks import build_task
from ranksearch.tasks import Task

STUDIES = Path(__file__).resolve().parents[1]

FACTORIES = {
    "resnet20": f"{STUDIES / 'resnet20_cifar10' / 'resnet20.py'}:resnet20",
    "resnet50": f"{STUDIES / 'compressibility' / 'nets.py'}:resnet50_small",
}

FIELDS = ("case", "moments", "held-out moments", "candidates", "together", "peak GiB")


class Bag(nn.Module):
    """Token embeddings, a residual block and a head over the vocabulary, averaged over positions."""

    def __init__(self, vocabulary: int, width: int = 64) -> None:
        super().__init__()
        self.embedding, self.block = nn.Embedding(vocabulary, width), nn.Linear(width, width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = self.embedding(tokens)
        logits: Tensor = self.head((hidden + torch.relu(self.block(hidden))).mean(1))
        return logits


def vgg16(images: int = 64) -> Task:
    """Random weights, random images of 224×224."""
    model = torchvision.models.vgg16(weights=None).eval()
    data = TensorDataset(torch.randn(2 * images, 3, 224, 224))
    return Task(model, data, calibration_size=images, batch_size=8, val_split=0.0)


def outputs(vocabulary: int = 8000, images: int = 60) -> Task:
    """A head with many more outputs than calibration images."""
    data = TensorDataset(torch.randint(0, vocabulary, (2 * images, 12)))
    return Task(Bag(vocabulary).eval(), data, calibration_size=images, val_split=0.0)


def trained(case: str, data: str, weights: str, images: int) -> Task:
    """A trained network and its images."""
    options = RunOptions(
        model=FACTORIES[case],
        weights=weights,
        data=data,
        calibration_size=images,
        val_split=0.1,
        split_seed=42,
    )
    return replace(build_task(options), cache=None)


def measure(task: Task, config: CandidateConfig | None = None) -> dict[str, float]:
    """Seconds of each step of `prepare`, in this process, and the peak memory so far."""
    for role in ("moments", "divergence"):
        task.inputs(role)  # reading images is no work of ranksearch
    seconds = dict.fromkeys(FIELDS[1:4], 0.0)
    last = time.process_time()

    def progress(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.process_time()
        seconds[stage] += now - last
        last = now

    prepare(task, config=config, progress=progress)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return seconds | {"together": sum(seconds.values()), "peak GiB": peak}


def one(case: str, given: argparse.Namespace) -> dict[str, float]:
    torch.manual_seed(0)
    if case == "outputs":
        return measure(outputs(), CandidateConfig(decompositions=("svd",)))
    if case == "vgg16":
        return measure(vgg16())
    return measure(trained(case, given.data, getattr(given, case), given.images))


def cases(given: argparse.Namespace) -> list[str]:
    """Those whose files are given, of the requested ones."""
    ready: Mapping[str, object] = {
        "resnet20": given.data and given.resnet20,
        "resnet50": given.data and given.resnet50,
        "vgg16": True,
        "outputs": True,
    }
    return [case for case in given.cases.split(",") if ready[case]]


def main(arguments: list[str] | None = None) -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cases", default="outputs,resnet20,vgg16,resnet50")
    p.add_argument("--data", help="CIFAR-10, as for ranksearch run")
    p.add_argument("--resnet20", help="weights")
    p.add_argument("--resnet50", help="weights")
    p.add_argument("--images", type=int, default=1536, help="calibration images of the trained networks")
    p.add_argument("--out", type=Path, default=Path("seconds.csv"))
    p.add_argument("--one", help=argparse.SUPPRESS)
    given = p.parse_args(arguments)
    if given.one:
        with threads(1):
            print(json.dumps(one(given.one, given)))
        return
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        for case in cases(given):
            command = [sys.executable, __file__, *(sys.argv[1:] if arguments is None else arguments)]
            done = subprocess.run([*command, "--one", case], stdout=subprocess.PIPE, text=True, check=True)
            found = json.loads(done.stdout.splitlines()[-1])
            row = {"case": case, **{key: round(value, 2) for key, value in found.items()}}
            writer.writerow(row)
            file.flush()
            print(row, flush=True)


if __name__ == "__main__":
    keep_freed_memory()
    main()
