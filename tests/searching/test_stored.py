"""Storages that hold something else than what ranksearch keeps there: told in one line, and left as they are."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import Study

from ranksearch.errors import InputError, MismatchError
from ranksearch.planning import Problem
from ranksearch.searching import SearchSettings, search
from ranksearch.searching.studies import open_storage

SETTINGS = SearchSettings(
    budgets=(0.5,), n_trials=3, objective="reconstruction", space="ranks", refit_trials=0, finetune_trials=0
)  # fmt: skip
NAME = "ranksearch-0.5-reconstruction"


@pytest.mark.parametrize(
    "content",
    [b"precious", b"precious\n", b"a\nb", b"[1]\n", b"{}\n", b"5\n", b"\xff\xfe\0\n", b"[" * 99_999 + b"\n",
     b'{"op_code":99,"worker_id":"a"}\n', b'{"op_code":0,"worker_id":"a"}\n', b'{"op_code":0,"worker_id"\n'],
)  # fmt: skip
def test_files_that_are_no_journal_are_told_and_left(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "study.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^storage: expected an Optuna journal, got .* Name another file"):
        open_storage(path)
    assert path.read_bytes() == content


def test_databases_of_another_schema_are_told(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    (tmp_path / "a.db").write_bytes(b"precious" * 200)
    with pytest.raises(InputError, match="storage: expected an RDB URL that opens"):
        open_storage(url)
    (tmp_path / "a.db").unlink()
    open_storage(url)
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("update alembic_version set version_num='v0.9.0.a'")
    with pytest.raises(InputError, match=r"storage: expected an RDB URL that opens.*no longer compatible"):
        open_storage(url)


def test_a_database_with_other_tables_is_told(tmp_path: Path, tiny_problem: Problem) -> None:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("create table studies(a)")
    with pytest.raises(MismatchError, match=r"expected a study that can be read, got"):
        search(tiny_problem, SETTINGS, storage=open_storage(f"sqlite:///{tmp_path}/a.db"))


@pytest.mark.parametrize("how", [{"direction": "maximize"}, {"directions": ["minimize"] * 2}, {}])
def test_studies_of_somebody_else_are_refused(tiny_problem: Problem, how: dict[str, Any]) -> None:
    storage = InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name=NAME, **how)
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1),) * len(study.directions), n_trials=2)
    with pytest.raises(MismatchError, match=f"study '{NAME}': expected one that ranksearch made"):
        search(tiny_problem, SETTINGS, storage=storage)


def changed(storage: BaseStorage, change: dict[str, Any]) -> Study:
    """A copy of the study with one more trial: the last one, with other attributes, without those that are None."""
    study = optuna.load_study(study_name=NAME, storage=storage)
    optuna.copy_study(from_study_name=NAME, from_storage=storage, to_storage=(copy := InMemoryStorage()))
    other = optuna.load_study(study_name=NAME, storage=copy)
    last = study.trials[-1]
    wanted = last.user_attrs | {"ordinal": len(study.trials)} | change
    attrs = {key: value for key, value in wanted.items() if value is not None}
    other.add_trial(
        optuna.trial.create_trial(
            value=last.value, params=last.params, distributions=last.distributions, user_attrs=attrs
        )
    )
    return other


@pytest.mark.parametrize(
    "change",
    [
        {"choice": None}, {"choice": [0]}, {"choice": [0, 0, 10**6]}, {"choice": [0, 0, -1]}, {"choice": "abc"},
        {"choice": [0, 0, True]}, {"scores": None}, {"scores": {"a": "b"}}, {"scores": [1]}, {"origin": 5},
        {"ordinal": -1}, {"ordinal": "1"},
    ],
)  # fmt: skip
def test_trials_without_what_makes_a_plan_are_refused(tiny_problem: Problem, change: dict[str, Any]) -> None:
    storage = InMemoryStorage()
    search(tiny_problem, SETTINGS, storage=storage)
    other = changed(storage, change)
    (name,) = change
    with pytest.raises(MismatchError, match=rf"trial 3 of study .* got {name} .*Choose another `study_name`"):
        search(tiny_problem, SETTINGS, storage=other._storage)


def test_other_parameters_than_those_that_are_stored(tmp_path: Path, tiny_problem: Problem) -> None:
    path = tmp_path / "study.jsonl"
    search(tiny_problem, SETTINGS, storage=open_storage(path))
    lines = []
    for line in path.read_text().splitlines():
        log = json.loads(line)
        if "distribution" in log:
            kind = {"name": "CategoricalDistribution", "attributes": {"choices": ["a", "b"]}}
            log |= {"distribution": json.dumps(kind), "param_value_internal": 0}
        lines.append(json.dumps(log, separators=(",", ":")) + "\n")
    path.write_text("".join(lines))
    more = SearchSettings(**(vars(SETTINGS) | {"n_trials": 5}))
    with pytest.raises(MismatchError, match=r"expected the parameters of space ranks as they were"):
        search(tiny_problem, more, storage=open_storage(path))
