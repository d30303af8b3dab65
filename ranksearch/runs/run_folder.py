"""The folder of a run: what lies where in it, one run at a time, and going on with one that was killed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import NonNegativeInt, model_validator

from ranksearch.costs import Kept
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.files import write_text
from ranksearch.folders import CONFIG, TABLES, TRAINING, held
from ranksearch.records import Record, read_record
from ranksearch.runs.config import absolute, check_same, of_now, parse, read_toml, write_toml
from ranksearch.runs.options import RunOptions

WRITTEN = (
    *("*.json", "*.jsonl", "*.csv", "*.toml", "*.txt", "*.svg", "*.html", "times", "times/*"),
    *("artifacts", "artifacts/*", "tensorboard", "tensorboard/events.*"),
    *(
        "compressed",
        "compressed/*",
        "compressed/*/*",
        "compressed/*/transformers/*",
        f"compressed/*/{TRAINING}/*",
    ),
)
"""Patterns of what a run writes in its folder."""


class SplitsRecord(Record):
    """What splits.json holds: see `Splits`. test: those of the source's training images that were split off for it."""

    seed: int
    moments: tuple[NonNegativeInt, ...]
    divergence: tuple[NonNegativeInt, ...]
    finetune: tuple[NonNegativeInt, ...]
    validation: tuple[NonNegativeInt, ...]
    test: tuple[NonNegativeInt, ...] | None

    @model_validator(mode="after")
    def _every_image_has_one_role(self) -> Self:
        images = sorted(self.moments + self.divergence + self.finetune + self.validation)
        if images != list(range(len(images))):
            place, image = next((k, image) for k, image in enumerate(images) if k != image)
            raise ValueError(
                f"image {place} in no role" if image > place else f"image {image} in several roles"
            )
        if self.test is not None and len(set(self.test)) < len(self.test):
            raise ValueError("a test image named twice")
        return self


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run's files."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / CONFIG

    @property
    def splits(self) -> Path:
        return self.path / "splits.json"

    @property
    def study(self) -> Path:
        return self.path / "study.jsonl"

    @property
    def trials(self) -> Path:
        return self.path / "trials.csv"

    @property
    def front(self) -> Path:
        return self.path / "front.json"

    @property
    def times(self) -> Path:
        """What was measured for budgets of time, so that a resumed run need not measure it again."""
        return self.path / "times"

    @property
    def artifacts(self) -> Path:
        """What processes that join the search are given, unless another folder is named."""
        return self.path / "artifacts"

    def worker_log(self, number: int) -> Path:
        """What a worker that the run has started says."""
        return self.path / f"worker-{number}.txt"

    @property
    def tables(self) -> Path:
        return self.path / TABLES

    @property
    def front_table(self) -> Path:
        return self.path / "front.csv"

    @property
    def log(self) -> Path:
        return self.path / "log.txt"

    def plan(self, budget: str) -> Path:
        """The plan file of a budget, by the budget's name."""
        return self.path / f"plan-{budget}.json"

    def compressed(self, budget: str) -> Path:
        """The folder of a compressed model, by its budget's name."""
        return self.path / "compressed" / budget

    def plans(self) -> list[Path]:
        """Plan files that are there, largest budget first."""
        files = self.path.glob("plan-*.json")
        budgets = {path: budget for path in files if (budget := _budget(path)) is not None}
        return sorted(budgets, key=budgets.__getitem__, reverse=True)

    def delivered(self) -> list[Path]:
        """Records of the compressed models that are there, largest budget first."""
        places = [self.compressed(path.stem.removeprefix("plan-")) / "plan.json" for path in self.plans()]
        return [place for place in places if place.is_file()]

    def has_results(self) -> bool:
        """Whether a search has left anything."""
        return bool(self.plans()) or (self.study.is_file() and self.study.stat().st_size > 0)

    def write_splits(self, splits: SplitsRecord) -> None:
        """Write splits.json, or, where it is there already, check that the data has not changed. Raises MismatchError
        where it has, and InputError where the file is damaged."""
        if self.splits.exists():
            way_out = "If the data is the same as before, remove the file: it is written anew."
            if read_record(self.splits, SplitsRecord, "splits", way_out=way_out) != splits:
                what = "the training images that the run was started with"
                raise MismatchError(
                    expected(f"--data of {self.path}", what, "others", "Choose another --out.")
                )
        else:
            write_text(self.splits, splits.model_dump_json() + "\n")


def default_path(model: str) -> Path:
    """`runs/MODEL-DATE-TIME` in the working directory."""
    name = re.sub(r"\W+", "-", re.split(r"[/\\]", model)[-1]).strip("-")
    return Path.cwd() / "runs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


@contextmanager
def open_run(options: RunOptions) -> Iterator[RunFolder]:
    """The folder of the run, made or gone on with, for this process alone.

    Raises InputError where the folder holds something already and `resume` is off, or another process is at
    work in it, and MismatchError where a run to resume has another configuration. With `resume` and nothing
    there yet the run begins: it was killed before it could write anything. A run that ends in an InputError
    before it found anything leaves nothing behind, so that the mistake can be corrected.
    """
    folder = RunFolder(options.out or default_path(options.model))
    with held(
        folder.path,
        folder.config,
        "a run",
        resume=options.resume,
        written=WRITTEN,
        found=folder.has_results,
    ) as resumed:
        if resumed:
            stored = of_now(absolute(read_toml(folder.config), folder.path))
            check_same(parse(stored), options, folder.path)
        else:
            write_text(folder.config, write_toml(options.model_copy(update={"resume": False})))
        yield folder


def _budget(plan: Path) -> tuple[int, float] | None:
    """Where the budget that a plan file is named for stands among others; None where it is somebody else's file."""
    try:
        kept = Kept.parse(plan.stem.removeprefix("plan-"))
    except InputError:
        return None
    return kept.amount or 0, kept.fraction or 0.0
