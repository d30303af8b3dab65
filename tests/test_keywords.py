"""A mistyped keyword is an error in the project's form, wherever the library is called."""

from __future__ import annotations

import copy
import inspect
import pickle
from dataclasses import MISSING, fields, replace
from typing import Any

import pytest

import ranksearch
from ranksearch.errors import InputError
from ranksearch.keywords import checks_keywords
from ranksearch.searching import SearchSettings
from ranksearch.tasks import Task

CALLED = (
    "search",
    "compress",
    "save",
    "load_weights",
    "Metric",
    "load",
    "plan",
    "footprint",
    "track",
    "export",
    "export_plan",
    "read_ranks",
    "quantize",
    "smallest",
    "behaviour",
    "report",
    "work",
    "Task",
    "CompressConfig",
    "Loss",
)


@pytest.mark.parametrize(
    ("name", "typo", "meant"),
    [
        ("search", "ntrials", "n_trials"),
        ("search", "decomposition", "decompositions"),
        ("smallest", "max_dorp", "max_drop"),
        ("behaviour", "modle", "model"),
        ("compress", "momets", "moments"),
        ("Task", "calibration_sise", "calibration_size"),
        ("CompressConfig", "epoch", "epochs"),
        ("Loss", "Metric", "metric"),
        ("save", "foldr", "folder"),
        ("footprint", "run_time", "runtime"),
        ("load", "modell", "model"),
        ("export", "exmaple", "example"),
        ("quantize", "tolerence", "tolerance"),
        ("report", "langauge", "lang"),
        ("work", "artefacts", "artifacts"),
    ],
)
def test_the_keyword_that_was_meant_is_named(name: str, typo: str, meant: str) -> None:
    with pytest.raises(InputError) as caught:
        getattr(ranksearch, name)(**{typo: 1})
    wanted = f"{name}: expected a parameter that it has, got '{typo}'. Did you mean `{meant}`?"
    assert str(caught.value) == wanted


@pytest.mark.parametrize("name", CALLED)
def test_what_the_package_offers_says_so_of_any_name(name: str) -> None:
    thing = getattr(ranksearch, name)
    with pytest.raises(InputError, match=rf"{name}: .* got 'zzzzzz'\. It has (\w+, )*\w+\.") as caught:
        thing(zzzzzz=1)
    for parameter in inspect.signature(thing).parameters:
        assert parameter in str(caught.value)


def test_nothing_that_is_called_is_left_out() -> None:
    left = {"Plan", "RankSearchError", "keep_freed_memory"}  # made by `search`, raised, without parameters
    assert set(CALLED) | left == set(ranksearch.__all__)


def test_a_search_takes_the_fields_of_its_settings_with_their_defaults() -> None:
    taken = inspect.signature(ranksearch.search).parameters
    assert all(p.kind is p.KEYWORD_ONLY for p in list(taken.values())[2:])
    for own in fields(SearchSettings):
        if own.name in ("budgets", "limits", "multiples"):  # multiples: of `rank_multiple`
            continue
        assert own.default is not MISSING
        assert taken[own.name].default == own.default, own.name


def test_settings_arrive_under_their_names(tiny_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every one is set to something else than its default, and comes out as such."""
    given: dict[str, Any] = {
        "metric": "flops",
        "space": "grouped",
        "sampler": "random",
        "n_trials": 7,
        "timeout": 8.0,
        "refit_trials": 9,
        "finetune_trials": 10,
        "finetune_steps": 11,
        "finetune_lr": 0.5,
        "seed": 12,
        "study_name": "mine",
        "storage": "study.jsonl",
        "objective": "ordered",
        "allocator": "uniform",
        "budget_of": "factorisable",
    }
    seen: list[SearchSettings] = []

    def stop(problem: object, settings: SearchSettings, **_: object) -> Any:
        seen.append(settings)
        raise InterruptedError

    monkeypatch.setattr("ranksearch.api.plans.search_problem", stop)
    with pytest.raises(InterruptedError):
        ranksearch.search(tiny_task, 0.5, decompositions="svd", **given)
    assert given.keys() == {own.name for own in fields(SearchSettings)} - {"budgets", "limits", "multiples"}
    assert {name: getattr(seen[0], name) for name in given} == given
    assert not any(value == getattr(SearchSettings(budgets=(0.5,)), name) for name, value in given.items())


def test_a_checked_class_stays_a_dataclass(tiny_task: Task) -> None:
    config = ranksearch.CompressConfig(iterations=3)
    assert replace(config, rounds=2) == ranksearch.CompressConfig(iterations=3, rounds=2)
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config
    assert list(inspect.signature(Task).parameters)[:2] == ["model", "train"]


def test_other_mistakes_are_those_of_python() -> None:
    @checks_keywords
    def call(a: int, *, b: int = 2) -> int:
        """Add."""
        return a + b

    assert call(1, b=3) == 4
    assert (call.__name__, call.__doc__) == ("call", "Add.")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        call(b=1)  # type: ignore[call-arg]
