"""What the studies of one network share: the options that name it, by default ResNet-20, its task, files of rows."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ranksearch.files import write_text
from ranksearch.runs import RunOptions
from ranksearch.runs.tasks import build_task
from ranksearch.tasks import Task

RESNET20 = f"{Path(__file__).resolve().parent / 'resnet20_cifar10' / 'resnet20.py'}:resnet20"


def parser(description: str | None) -> argparse.ArgumentParser:
    """Options for the model, its data, the calibration images and the seed."""
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True, help="as for ranksearch run, such as imagefolder:DIR")
    p.add_argument("--weights", required=True, help="of the model")
    p.add_argument("--model", default=RESNET20, help="file.py:factory, by default ResNet-20")
    p.add_argument("--calibration-size", type=int, default=1536)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=1)
    return p


def task_of(given: argparse.Namespace, split_seed: int | None = None) -> Task:
    """The task that the options name; `split_seed` decides which images serve what, where it is not to be the seed."""
    return build_task(
        RunOptions(
            model=given.model,
            weights=given.weights,
            data=given.data,
            calibration_size=given.calibration_size,
            split_seed=split_seed,
            seed=given.seed,
        )
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """What was measured so far, a line of JSON each; nothing where there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write them all, in one step."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
