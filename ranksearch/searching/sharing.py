"""A search that other processes join: what its leader tells them, and what theirs is held against."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from optuna.storages import BaseStorage, InMemoryStorage
from pydantic import JsonValue, ValidationError

from ranksearch.cache import Cache, digest
from ranksearch.calibration import computation_digest, moments_keys, task_parts
from ranksearch.checksums import sha256_of
from ranksearch.errors import InputError, MismatchError, expected
from ranksearch.planning import (
    CandidateConfig,
    Problem,
    Tables,
    TablesRecord,
    model_record,
    package_versions,
    problem_from,
    read_tables,
    record_of_tables,
    write_tables,
)
from ranksearch.progress import Progress
from ranksearch.records import Record, read_record, write_record
from ranksearch.searching.settings import SearchSettings
from ranksearch.searching.studies import SEARCH, Artifact, Artifacts, Board, Found, leading
from ranksearch.tasks import Role, Task, metric_name


class Shared(Record):
    """What is said of a search on its board.

    parts: digests of the leader's model and data, by what they are of. settings: of the search, by name. fit: how
    candidates are fitted. computes: the digest that moments go by. files: where the others are listed.
    """

    version: Literal[1]
    id: str
    parts: dict[str, str]
    versions: dict[str, str]
    device: str
    settings: dict[str, JsonValue]
    fit: dict[str, JsonValue]
    computes: str
    options: dict[str, JsonValue]
    files: Artifact


class Files(Record):
    """The files that are shared: the tables, and the moments of layers by their keys in a cache."""

    tables: Artifact
    moments: dict[str, Artifact]


SHARED_SETTINGS = ("space", "objective", "finetune_steps", "finetune_lr", "seed")
"""Settings that a trial's value depends on."""

FIT = ("iterations", "fit_flops", "error")


@contextmanager
def shared(
    problem: Problem,
    settings: SearchSettings,
    storage: BaseStorage,
    artifacts: Artifacts,
    options: Mapping[str, JsonValue] | None = None,
) -> Iterator[Board]:
    """Lead a search that other processes may join meanwhile.

    options: of the command, for those who join by command. Raises InputError where another process leads it, or where
    the task has no cache to take moments from.
    """
    if isinstance(storage, InMemoryStorage):
        raise InputError(expected("storage", "one that others reach, where they join the search", "none"))
    if problem.task.cache is None:
        way_out = "The moments that it keeps are what is shared."
        raise InputError(expected("cache", "a folder, where others join the search", "none", way_out))
    with leading(storage, settings.study_name) as board:
        _tell(board, problem, settings, artifacts, dict(options or {}))
        yield board


def _tell(
    board: Board,
    problem: Problem,
    settings: SearchSettings,
    artifacts: Artifacts,
    options: dict[str, JsonValue],
) -> None:
    """Write on the board what the search is about; files that a leader before this one has shared stay."""
    task, config = problem.task, problem.fits.config
    computes = computation_digest(task)
    layers = [table.layer for table in problem.tables]
    cache = Cache(task.cache)
    roles: tuple[Role, ...] = ("moments", "divergence")
    keys = sorted(
        {k for role in roles for k in moments_keys(task, layers, role, settings.seed, computes).values()}
    )
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder, "tables.json")
        write_tables(tables, _tables(problem, settings))
        about: dict[str, Any] = {
            "version": 1,
            "parts": task_parts(task),
            "versions": _versions(),
            "device": task.device.type,
            "settings": {name: getattr(settings, name) for name in SHARED_SETTINGS}
            | {"multiples": [*settings.multiples]},
            "fit": {name: getattr(config, name) for name in FIT},
            "computes": computes,
            "options": options,
        }
        about["id"] = digest(sorted(about.items(), key=lambda pair: pair[0]), sha256_of(tables), keys)
        before = board.study.user_attrs.get(SEARCH)
        files = _kept(before, about["id"], artifacts)
        if files is None:
            moments = {key: artifacts.put(board.study, cache.path(key)) for key in keys}
            listed = Path(folder, "files.json")
            write_record(listed, Files(tables=artifacts.put(board.study, tables), moments=moments))
            files = artifacts.put(board.study, listed)
    board.study.set_user_attr(SEARCH, Shared(**about, files=files).model_dump(mode="json"))


def _kept(before: object, wanted: str, artifacts: Artifacts) -> Artifact | None:
    """The list of files that an earlier leader of the same search has shared, if all are still there."""
    try:
        about = Shared.model_validate(before)
        with tempfile.TemporaryDirectory() as folder:
            files = _listed(about, artifacts, Path(folder))
    except (ValidationError, InputError, OSError):
        return None
    same = about.id == wanted and all(map(artifacts.has, (files.tables, *files.moments.values())))
    return about.files if same else None


def _listed(about: Shared, artifacts: Artifacts, folder: Path) -> Files:
    artifacts.get(about.files, folder / "files.json")
    return read_record(folder / "files.json", Files, "list of shared files")


def _tables(problem: Problem, settings: SearchSettings) -> TablesRecord:
    task = problem.task
    return record_of_tables(
        problem.offered,
        model_record(task.model, task.example, task.model_name),
        task_metric=metric_name(task),
        budget=settings.budgets_of(problem.dense, problem.part)[0],
        seed=settings.seed,
        options={},
    )


def _versions() -> dict[str, str]:
    return {name: version for name, version in package_versions().items() if name != "python"}


def read_shared(found: Found) -> Shared:
    """What a board says of its search. Raises MismatchError for what no process of this version has written."""
    try:
        return Shared.model_validate(found.about)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"study {found.study.study_name!r}, {'.'.join(map(str, first['loc']))}"
        way_out = "Is the process that leads the search of another version of ranksearch?"
        raise MismatchError(expected(what, "what a search is about", first["msg"], way_out)) from error


def check_same_task(about: Shared, task: Task) -> None:
    """Raise MismatchError that names, a line each, in what this process differs from the one that leads the search."""
    here = {**task_parts(task), **_versions(), "device": task.device.type}
    there = {**about.parts, **about.versions, "device": about.device}
    lines = []
    for name, wanted in there.items():
        if (got := here.get(name, "none")) != wanted:
            way_out = _WAYS_OUT.get(name, "Install the same version here.")
            told = f"{_short(wanted)}, as where the search is led"
            lines.append(expected(f"worker, {name}", told, _short(got), way_out))
    if lines:
        raise MismatchError("\n".join(lines))


_WAYS_OUT = {
    "weights": "Give the same `model` and `weights`.",
    "code of the model": "Give the same `model`, from the same code.",
    "loss": "Give the same `loss`.",
    "calibration images": "Give the same `data`, read and split by the same options.",
    "fine-tuning images": "Give the same `data`, read and split by the same options.",
    "device": "See `device`.",
}


def _short(text: str) -> str:
    return f"{text[:12]}…" if len(text) == 32 else text


def joined(about: Shared, task: Task, artifacts: Artifacts | None, progress: Progress) -> Problem:
    """The problem of the search, from the leader's tables and moments. Moments that the task's cache has are not
    fetched. Raises InputError where files are missing, and MismatchError where they were changed."""
    if artifacts is None:
        way_out = "Give the `artifacts` of the run that leads it."
        raise InputError(expected("artifacts", "where the files of the search are", "nothing", way_out))
    cache = Cache(task.cache)
    with tempfile.TemporaryDirectory() as folder:
        files = _listed(about, artifacts, Path(folder))
        artifacts.get(files.tables, Path(folder, "tables.json"))
        tables: Tables = read_tables(Path(folder, "tables.json")).content()
    for done, (key, artifact) in enumerate(files.moments.items()):
        progress("shared moments", done, len(files.moments))
        if cache.get(key) is None:
            artifacts.get(artifact, cache.path(key))
    progress("shared moments", len(files.moments), len(files.moments))
    config = CandidateConfig(**about.fit)  # type: ignore[arg-type]
    seed = int(str(about.settings["seed"]))
    return problem_from(task, tables, config, seed=seed, computes=about.computes, progress=progress)
