"""Files that hold a record: what is written comes back, what is malformed is said in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import FiniteFloat

from ranksearch.errors import InputError
from ranksearch.records import Record, in_words, read_record, write_record


class Point(Record):
    at: tuple[int, ...]
    value: FiniteFloat


class Path3(Record):
    version: Literal[3]
    name: str | None
    points: tuple[Point, ...]
    more: dict[str, float]


RECORD = Path3(version=3, name="ε", points=(Point(at=(1, 2), value=1.0), Point(at=(), value=-2)), more={})


def first_version(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"version": 3, "more": {}}


def read(path: Path, content: str) -> Path3:
    path.write_text(content, encoding="utf-8")
    return read_record(path, Path3, "path", {1: first_version})


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_record(path, RECORD)
    assert read_record(path, Path3, "path") == RECORD
    text = path.read_text(encoding="utf-8")
    assert "ε" in text
    assert '"at": [1, 2]' in text
    assert text.endswith("}\n")


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_record(path, RECORD)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_record(path, RECORD.model_copy(update={"more": {"a": float("inf")}}))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_older_files_are_brought_up_to_date(tmp_path: Path) -> None:
    data = RECORD.model_dump(mode="json", exclude={"more"})
    assert read(tmp_path / "a.json", json.dumps(data | {"version": 1})) == RECORD
    with pytest.raises(
        InputError, match=r"a\.json, version: expected 3, got 1\. Another version of ranksearch"
    ):
        read_record(tmp_path / "a.json", Path3, "path")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": True}, "a.json, version: expected 3, or 1 from before, got True."),
        ({"name": 5}, "a.json, name: expected a valid string, got 5."),
        ({"extra": 5}, "a.json, extra: expected no such field, got 5."),
        ({"points": [{"at": [1, "2"], "value": 1}]}, "points[0].at[1]: expected a valid integer, got '2'."),
        ({"points": [{}]}, "a.json, points[0].at: expected a value, got none. And 1 more."),
        ({"name": ["x" * 100]}, "got ['" + "x" * 55 + "…."),
    ],
)
def test_the_field_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    data = RECORD.model_dump(mode="json")
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.json", json.dumps(data | change))
    assert str(tmp_path) in str(caught.value)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_record(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(InputError, match=r"expected a path file, got (No such file|Is a directory)"):
            read_record(path, Path3, "path")
    for content, message in (
        ("{", "expected JSON"),
        ("[]", "a JSON object, got list"),
        ("NaN", "got NaN, which"),
    ):
        with pytest.raises(InputError, match=message):
            read(tmp_path / "a.json", content)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Input should be greater than 0", "a number greater than 0"),
        ("Value error, a layer named twice", "a layer named twice"),
        ("Tuple should have at most 3 items after validation, not 4", "at most 3 values"),
        ("Input should be a valid integer", "a valid integer"),
    ],
)
def test_the_words_of_pydantic(theirs: str, ours: str) -> None:
    assert in_words(theirs) == ours
