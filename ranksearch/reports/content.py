"""What a run folder holds, as far as it can be read: a file that is missing or damaged leaves a gap, and a note."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ranksearch.checksums import SUMS_FILE, read_sums
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.exporting import ExportRecord, read_exports
from ranksearch.folders import CONFIG, PLAN_FILE, TABLES
from ranksearch.planning import PlanRecord, TablesRecord, read_plan, read_tables
from ranksearch.reading import parse_toml, read_text
from ranksearch.reports.stages import LOG, Stages, read_stages
from ranksearch.reports.tables_of_text import Row, read_rows
from ranksearch.searching import FrontRecord, read_front

FRONT, WHOLE_FRONT, TRIALS = "front.json", "front.csv", "trials.csv"

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Model:
    """A delivered model. place: its folder, below the run's. sums: by file name, what SHA256SUMS states."""

    record: PlanRecord
    place: str
    exports: tuple[ExportRecord, ...]
    sums: Mapping[str, str]


@dataclass(frozen=True)
class RunContent:
    """A run folder. plans: of plan-*.json, largest budget first; models: what was delivered, in the same order.

    problems: a line for each file that could not be read. files: those that are there, below the folder.
    """

    folder: Path
    front: FrontRecord | None
    whole_front: tuple[Row, ...]
    trials: tuple[Row, ...]
    tables: TablesRecord | None
    plans: tuple[PlanRecord, ...]
    models: tuple[Model, ...]
    options: Mapping[str, Any]
    stages: Stages | None
    problems: tuple[str, ...]
    files: tuple[str, ...]

    @property
    def records(self) -> tuple[PlanRecord, ...]:
        """The plans of what was delivered; before anything was, all plans."""
        return tuple(model.record for model in self.models) or self.plans

    @property
    def chosen(self) -> tuple[PlanRecord, ...]:
        """Those that the run is for: all, unless a budget was looked for."""
        return tuple(record for record in self.records if record.promise is not None) or self.records

    @property
    def name(self) -> str:
        """What the folder is called."""
        return self.folder.resolve().name


class _Reader:
    """Reads files of a folder, and keeps the reasons why some could not be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.problems: list[str] = []

    def __call__(self, name: str, read: Callable[[Path], _Found]) -> _Found | None:
        path = self.folder / name
        if not path.exists():
            return None
        try:
            return read(path)
        except (InputError, OSError, ValueError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            told = reason.replace(f"{path}, ", "").replace(f"{path}: ", "")
            self.problems.append(f"{name}: {told.replace(f'{self.folder}/', '')}")
            return None


def read_run(folder: Path) -> RunContent:
    """Read a run folder. Raises InputError where it holds nothing of a run that can be read."""
    read = _Reader(folder)
    front = read(FRONT, read_front)
    tables = read(TABLES, read_tables)
    names = sorted(path.name for path in folder.glob("plan-*.json"))
    plans = [found for name in names if (found := read(name, read_plan)) is not None]
    places = sorted(path.parent.name for path in folder.glob(f"compressed/*/{PLAN_FILE}"))
    made = [_model_at(read, f"compressed/{place}") for place in places]
    models = [model for model in made if model is not None]
    content = RunContent(
        folder=folder,
        front=front,
        whole_front=read(WHOLE_FRONT, read_rows) or (),
        trials=read(TRIALS, read_rows) or (),
        tables=tables,
        plans=tuple(sorted(plans, key=lambda record: record.budget, reverse=True)),
        models=tuple(sorted(models, key=lambda model: model.record.budget, reverse=True)),
        options=read(CONFIG, lambda path: parse_toml(read_text(path))) or {},
        stages=read(LOG, read_stages),
        problems=tuple(read.problems),
        files=_files(folder),
    )
    if content.front is None and content.tables is None and not content.records:
        way_out = "" if not content.problems else content.problems[0]
        got = f"{folder}, which holds neither" if folder.is_dir() else f"{folder}, which is no folder"
        raise InputError(
            expected("RUN", "the folder of a run or probe, with front.json or probe.json", got, way_out)
        )
    return content


def _model_at(read: _Reader, place: str) -> Model | None:
    record = read(f"{place}/{PLAN_FILE}", read_plan)
    if record is None:
        return None
    exports = read(f"{place}/exports.json", lambda path: read_exports(path.parent))
    sums = read(f"{place}/{SUMS_FILE}", _sums)
    return Model(record, place, exports or (), sums or {})


def _sums(path: Path) -> dict[str, str]:
    try:
        return read_sums(path.parent)
    except MismatchError as error:
        raise InputError(str(error)) from error


_LISTED = ("*.json", "*.csv", "*.svg", "*.toml", "*.txt", "*.jsonl", "compressed/*/*")
"""Patterns of the files that a page links to."""


def _files(folder: Path) -> tuple[str, ...]:
    found = {path for pattern in _LISTED for path in folder.glob(pattern) if path.is_file()}
    return tuple(sorted(path.relative_to(folder).as_posix() for path in found))
